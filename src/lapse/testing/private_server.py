"""The base of all private servers for tests and demos: folder, lock, port, supervised process, start and end."""

import os
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, ClassVar, Self

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import LapseError
from lapse.testing import supervise
from lapse.testing.ports import free_port
from lapse.testing.supervise import Supervised

READY_WITHIN = 120.0
"""Seconds that a server may take to recover its data and answer."""

STOP_WITHIN = 30.0
"""Seconds that a server may take to end after a signal, before it is killed."""

LAUNCHES = 5
"""How many ports are tried before a start fails because another process listens on each."""

LONGEST_SOCKET_PATH = 100
"""Bytes of a Unix socket's path that every system allows (Linux has room for 107, macOS for 103)."""

LOG_LINES = 15
"""How many of the log's last lines an error shows."""


class ServerFailed(LapseError):
    """A server did not start. The message ends with the last lines of its log."""


class PrivateServer(ABC):
    """One server process on this machine, started by `with` or `start()`, ended with this process at the latest.

    `directory` keeps the server's files and data. Without one, a temporary directory is made, and `close()` removes
    it. `log` is the server's own output since its last start. `port` is the TCP port on 127.0.0.1; 0 means a Unix
    socket only. The address stays the same over restarts. `start()` sets `version` for Redis and RabbitMQ.

    A subclass says which command runs the server and when the server is ready.
    """

    NAME: ClassVar[str]
    """The server's name in messages; a server that has several products sets `name`."""

    FILE_PREFIX: ClassVar[str]
    """How the names of the server's log and lock begin."""

    STOP_SIGNAL: ClassVar[signal.Signals] = signal.SIGTERM
    """The signal that ends the server in good order."""

    def __init__(self, directory: Path | None, *, port: int = 0, needs_port: bool = True) -> None:
        self._own = Path(tempfile.mkdtemp(prefix=f"lapse-{self.FILE_PREFIX}-")) if directory is None else None
        self.directory = (self._own or directory or Path()).resolve()
        self.log = self.directory / f"{self.FILE_PREFIX}.log"
        self.port = port
        self.name = self.NAME
        self.version = ""
        self._needs_port = needs_port
        self._short: Path | None = None
        self._user: str | None = None  # whom to become, where we are root
        self._process: Supervised | None = None
        self._lock: int | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address of the server's main database."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Return whether the server takes connections: this server, not another one that took its port."""

    @property
    def running(self) -> bool:
        """Whether the server's process lives, frozen or not."""
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """The number of the server's main process. Raises ServerFailed before the first start."""
        if self._process is None:
            raise ServerFailed(f"{self.name} was not started: call start() first")
        return self._process.child

    def start(self) -> Self:
        """Start the server and return once it takes connections. Does nothing while it runs."""
        if self.running:
            return self
        self.kill()  # a process that ended by itself has left its lock
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock_directory()
        try:
            self._prepare()
            self._launch_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def stop(self) -> None:
        """End the server in good order, as an operator would; by SIGKILL where that takes too long."""
        if self.running:
            self.thaw()
        self._end(self.STOP_SIGNAL)
        self._unlock()

    def kill(self) -> None:
        """End the server at once by SIGKILL, as a crash would. `start()` recovers what the server had on disk."""
        self._end(signal.SIGKILL)
        self._unlock()

    def restart(self) -> None:
        """Stop the server and start it again at the same address."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the main process where it is, as on a machine that swaps: connections stay open without answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove the temporary directories that were made for it."""
        self.stop()
        for folder in (self._own, self._short):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        self._short = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:  # noqa: B027 - a server may need nothing
        """Create what the server needs before its first launch. The directory exists and is locked."""

    def _launch(self, log: IO[bytes]) -> Supervised:
        """Start the server with its output in `log`, and return its process."""
        return supervise.start(self._command(), output=log, user=self._user, grace=STOP_WITHIN, keep=self._lock)

    def _launch_until_ready(self) -> None:
        known = self.port  # given, or known to clients since an earlier start
        for _ in range(LAUNCHES):
            if self._needs_port:
                self.port = known or free_port()
            with self.log.open("wb") as log:
                self._process = self._launch(log)
            if wait_until(lambda: not self.running or self._is_ready(), READY_WITHIN) and self.running:
                return
            self._end(signal.SIGKILL)
            if known or "in use" not in self._log_tail():
                break  # else another process took the port first: try the next
        port = f" on port {self.port}" if self.port else ""
        raise self._failed(f"{self.name} did not start{port} in {self.directory}")

    def _run(self, command: Sequence[str]) -> None:
        """Run a program that prepares the data, until it ends. Raises ServerFailed where it fails."""
        with self.log.open("wb") as log:
            program = supervise.start(command, output=log, user=self._user, keep=self._lock)
        with suppress(subprocess.TimeoutExpired):
            program.wait(READY_WITHIN)
        if program.end(signal.SIGKILL, STOP_WITHIN):
            raise self._failed(f"{Path(command[0]).name} failed in {self.directory}")

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.end(number, STOP_WITHIN)
            self._process = None

    def _lock_directory(self) -> int:
        """Return a lock on these files; waits for a server that is still ending because its starter died."""
        try:
            return supervise.lock(self.directory / f"{self.FILE_PREFIX}.lock", STOP_WITHIN + 5)
        except BlockingIOError as error:
            message = f"another server uses {self.directory}: stop it first, or choose another directory"
            raise ServerFailed(message) from error

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _shorten(self, socket: Path) -> None:
        """Make a temporary folder, `_short`, for a Unix socket whose path is too long for the system."""
        if self._short is None and len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
            self._short = Path(tempfile.mkdtemp(prefix="lapse-"))

    def _failed(self, message: str) -> ServerFailed:
        return ServerFailed(f"{message}:\n{self._log_tail()}{self._hint()}")

    def _log_tail(self) -> str:
        if not self.log.exists():
            return "no log"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def _hint(self) -> str:
        """Return advice on a failed start, if the log does not give it."""
        return ""


def wait_until(condition: Callable[[], bool], within: float) -> bool:
    """Return True as soon as the condition holds, or False if it does not hold within `within` seconds."""
    end = SYSTEM_CLOCK.monotonic() + within
    while not condition():
        if SYSTEM_CLOCK.monotonic() >= end:
            return False
        SYSTEM_CLOCK.sleep(0.02)
    return True
