"""A real, private MariaDB server, for tests and demos."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from lapse.testing.private_server import PrivateServer, ServerFailed
from lapse.testing.programs import find_programs

DATABASE = "lapse"
SOCKET = "mariadb.sock"

FAST = {"innodb-flush-log-at-trx-commit": "2", "innodb-doublewrite": "OFF"}
"""A commit is then in the kernel's memory at once: it survives the server's processes, not the machine."""

SMALL = {
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "32M",
    "aria-log-file-size": "8M",
    "key-buffer-size": "1M",
}

SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/opt/homebrew/bin")
"""Where distributions put a server; an ordinary user may not have these on the path."""


def mariadb_binaries() -> list[Path]:
    """Return every distinct mariadbd of this machine: those on the path, then those where distributions put one."""
    return find_programs("mariadbd", [*os.get_exec_path(), *SYSTEM_FOLDERS])


class MariaDbServer(PrivateServer):
    """A private MariaDB on 127.0.0.1 and a Unix socket. The account is root, without a password, from this machine.

    `durable` makes every commit safe on disk. Without it a crash of the machine loses the data, and tests are quick.
    `binary` is the program: by default the first of `mariadb_binaries()`. `config` has further options of the
    server, by name.

    Raises ServerFailed if there is no mariadbd, or if the server does not start.
    """

    NAME = "MariaDB"
    FILE_PREFIX = "mariadb"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        binary: Path | None = None,
        durable: bool = False,
        config: Mapping[str, str] | None = None,
    ) -> None:
        self.binary = binary or _default_binary()
        super().__init__(directory)
        self.data = self.directory / "data"
        # A server that starts removes what it takes for leftovers: in a shared folder, the tables of other servers.
        self._scratch = self.directory / "tmp"
        self._settings = {**SMALL, **({} if durable else FAST), **(config or {})}
        self._making = {**SMALL, **({} if durable else {**FAST, "innodb-flush-method": "nosync"})}

    @property
    def socket(self) -> Path:
        """The Unix socket: beside the data, or in a folder with a short name where that path is too long."""
        return (self._short or self.directory) / SOCKET

    @property
    def url(self) -> str:
        """The address of the database `lapse`, which is there from the start."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Return the address of one database."""
        return f"mysql://root@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def _prepare(self) -> None:
        """Make the system's tables, and a database, where there are none yet."""
        self._shorten(self.socket)
        done = self.directory / "mariadb.made"
        if done.exists() and self.data.exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # a first start that was interrupted
        self._scratch.mkdir(exist_ok=True)
        (self.directory / "mariadb.sql").write_text(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;\n")
        with tempfile.TemporaryDirectory(prefix="lapse-my-") as short:
            link = Path(short) / "link"  # the script takes no path with a space in it
            link.symlink_to(self.directory)
            command = [
                str(_installer(self.binary)),
                "--no-defaults",
                f"--datadir={link}/data",
                f"--tmpdir={link / self._scratch.name}",
                f"--extra-file={link}/mariadb.sql",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                *_as_root(),
                *(f"--{name}={value}" for name, value in self._making.items()),
            ]
            self._run(command)
        done.touch()

    def _command(self) -> Sequence[str]:
        options = {
            "datadir": str(self.data),
            "tmpdir": str(self._scratch),
            "socket": str(self.socket),
            "port": str(self.port),
            "bind-address": "127.0.0.1",
            "pid-file": str(self.directory / "mariadb.pid"),
            **self._settings,
        }
        command = [str(self.binary), "--no-defaults", "--skip-name-resolve", *_as_root()]
        return [*command, *(f"--{name}={value}" for name, value in options.items())]

    def _is_ready(self) -> bool:
        """Return whether the server wrote into its log, which is empty at each start, that it takes connections."""
        return b": ready for connections." in self.log.read_bytes()


def _default_binary() -> Path:
    for binary in mariadb_binaries():
        return binary
    raise ServerFailed(
        "there is no mariadbd here: install MariaDB (on Debian or Ubuntu: apt-get install mariadb-server)"
    )


def _installer(binary: Path) -> Path:
    """Return the program that makes the system's tables: a package has it on the path, an archive in `scripts`."""
    home = binary.resolve().parent.parent
    for program in find_programs("mariadb-install-db", [home / "bin", home / "scripts", *os.get_exec_path()]):
        return program
    raise ServerFailed(f"there is no mariadb-install-db beside {binary}: install the whole of MariaDB's server")


def _as_root() -> list[str]:
    """Return the option without which MariaDB refuses to run as root, where we are root."""
    return ["--user=root"] if os.geteuid() == 0 else []
