"""A real, private MariaDB server, for tests and demos."""

import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.testing import supervise
from lapse.testing.mariadb_programs import default_binary, installer
from lapse.testing.redis_server import ServerFailed, free_port, lock_directory

READY_WITHIN = 120.0
"""Seconds that a server may take to recover its data and take connections."""

STOP_WITHIN = 30.0
"""Seconds that a server may take to end, before it is killed."""

DATABASE = "lapse"
LONGEST_SOCKET_PATH = 100
"""Bytes of a Unix socket's path that every system allows."""

FAST = {"innodb-flush-log-at-trx-commit": "2", "innodb-doublewrite": "OFF"}
"""What is committed is in the kernel's hands at once, so it outlives the server's processes, not the machine."""

SMALL = {
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "32M",
    "aria-log-file-size": "8M",
    "key-buffer-size": "1M",
}


class MariaDbServer:
    """A MariaDB of one's own on 127.0.0.1 and a Unix socket, started by `with` or `start()`, gone with this process.

    `directory` keeps the data; where none is given, a temporary one is made and removed by `close()`. `durable` makes
    every commit safe on disk; without it a crash of the machine loses the data, and tests are quick. `binary` is the
    program: by default the first of `mariadb_binaries()`. The port is a free one and stays the same over restarts.
    `config` has further options of the server, by name. The account is root, without a password, from this machine.

    Raises ServerFailed where there is no mariadbd, or where it does not start.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        binary: Path | None = None,
        durable: bool = False,
        config: Mapping[str, str] | None = None,
    ) -> None:
        self.binary = binary or default_binary()
        self._own = Path(tempfile.mkdtemp(prefix="lapse-mariadb-")) if directory is None else None
        self.home = (self._own or directory or Path()).resolve()
        self.directory = self.home / "data"
        self.log = self.home / "mariadb.log"
        # A server that starts clears away what it takes for leftovers: in a shared folder, the tables of others.
        self._temporary = self.home / "tmp"
        self._own_sockets: Path | None = None
        self.port = 0
        self._settings = {**SMALL, **({} if durable else FAST), **(config or {})}
        self._making = {**SMALL, **({} if durable else {**FAST, "innodb-flush-method": "nosync"})}
        self._leash: supervise.Leashed | None = None
        self._lock: int | None = None

    @property
    def socket(self) -> Path:
        """The Unix socket: beside the data, or in a folder with a short name where that path is too long."""
        return (self._own_sockets or self.home) / "mariadb.sock"

    @property
    def url(self) -> str:
        """The address of the database `lapse`, which is there from the start."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Say the address of one database."""
        return f"mysql://root@127.0.0.1:{self.port}/{quote(database, safe='')}"

    @property
    def running(self) -> bool:
        """Whether the process lives, frozen or not."""
        return self._leash is not None and self._leash.running

    @property
    def pid(self) -> int:
        """The number of the server's process. Raises ServerFailed where none was started."""
        if self._leash is None:
            raise ServerFailed("the MariaDB server was not started")
        return self._leash.child

    def start(self) -> Self:
        """Start the server and return once it takes connections. Does nothing where it runs."""
        if self.running:
            return self
        self._prepare()
        given = self.port
        for _ in range(5):
            self.port = given or free_port()
            self._leash = self._launch()
            if self._is_ready():
                return self
            self._leash.end(signal.SIGKILL, STOP_WITHIN)
            if given or "in use" not in self._log_tail():
                break  # else somebody was quicker: take another port
        message = f"MariaDB did not start in {self.directory}:\n{self._log_tail()}"
        self.close()
        raise ServerFailed(message)

    def stop(self) -> None:
        """End it in good order; open transactions are rolled back and their connections closed."""
        if self.running:
            self.thaw()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once by SIGKILL, as a crash would. What was committed is recovered by `start()`."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it again at the same address."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it hang, as a machine that swaps: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove the directories that were made here."""
        self.stop()
        for folder in (self._own, self._own_sockets):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        self._own_sockets = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        """Make the system's tables, and a database, where there are none yet."""
        self.home.mkdir(parents=True, exist_ok=True)
        self._lock = lock_directory(self.home / "mariadb.lock", STOP_WITHIN)
        if self._own_sockets is None and len(os.fsencode(self.socket)) > LONGEST_SOCKET_PATH:
            self._own_sockets = Path(tempfile.mkdtemp(prefix="lapse-my-"))
        done = self.home / "mariadb.made"
        if done.exists() and self.directory.exists():
            return
        shutil.rmtree(self.directory, ignore_errors=True)  # a first start that was interrupted
        self._temporary.mkdir(exist_ok=True)
        (self.home / "mariadb.sql").write_text(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;\n")
        with tempfile.TemporaryDirectory(prefix="lapse-my-") as way, self.log.open("wb") as log:
            here = Path(way) / "here"  # the script takes no path with a space in it
            here.symlink_to(self.home)
            command = [
                str(installer(self.binary)),
                "--no-defaults",
                f"--datadir={here}/data",
                f"--tmpdir={here / self._temporary.name}",
                f"--extra-file={here}/mariadb.sql",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                *_as_root(),
                *(f"--{name}={value}" for name, value in self._making.items()),
            ]
            made = supervise.start(command, output=log, keep=self._lock)
            made.wait(READY_WITHIN)
        if made.close():
            message = f"mariadb-install-db failed in {self.directory}:\n{self._log_tail()}"
            self.close()
            raise ServerFailed(message)
        done.touch()

    def _launch(self) -> supervise.Leashed:
        options = {
            "datadir": str(self.directory),
            "tmpdir": str(self._temporary),
            "socket": str(self.socket),
            "port": str(self.port),
            "bind-address": "127.0.0.1",
            "pid-file": str(self.home / "mariadb.pid"),
            **self._settings,
        }
        command = [str(self.binary), "--no-defaults", "--skip-name-resolve", *_as_root()]
        with self.log.open("wb") as log:
            return supervise.start(
                [*command, *(f"--{name}={value}" for name, value in options.items())],
                output=log,
                grace=STOP_WITHIN,
                keep=self._lock,
            )

    def _is_ready(self) -> bool:
        """Whether the server wrote of itself that it takes connections: its log begins anew with each start."""
        end = SYSTEM_CLOCK.monotonic() + READY_WITHIN
        while self.running and SYSTEM_CLOCK.monotonic() < end:
            if b": ready for connections." in self.log.read_bytes():
                return True
            SYSTEM_CLOCK.sleep(0.02)
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


def _as_root() -> list[str]:
    """MariaDB runs as root only when it is told to."""
    return ["--user=root"] if os.geteuid() == 0 else []
