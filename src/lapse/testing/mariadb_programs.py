"""Where the programs of a MariaDB server are on this machine."""

import os
import shutil
from pathlib import Path

from lapse.testing.redis_server import ServerFailed

SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/opt/homebrew/bin")
"""Where distributions put a server; not everybody has these on the path."""


def mariadb_binaries() -> list[Path]:
    """Every mariadbd here, each once: those on the path, then the one where distributions put it."""
    found: dict[Path, Path] = {}
    for folder in [*os.get_exec_path(), *SYSTEM_FOLDERS]:
        binary = Path(folder, "mariadbd")
        if os.access(binary, os.X_OK):
            found.setdefault(binary.resolve(), binary)
    return list(found.values())


def default_binary() -> Path:
    """Give the first of them. Raises ServerFailed where there is none."""
    for binary in mariadb_binaries():
        return binary
    raise ServerFailed(
        "there is no mariadbd here: install MariaDB (on Debian or Ubuntu: apt-get install mariadb-server)"
    )


def installer(binary: Path) -> Path:
    """Find the program that makes the system's tables: a package has it on the path, an archive in `scripts`.

    Raises ServerFailed where it is not there.
    """
    home = binary.resolve().parent.parent
    for found in (home / "bin" / "mariadb-install-db", home / "scripts" / "mariadb-install-db"):
        if os.access(found, os.X_OK):
            return found
    if on_path := shutil.which("mariadb-install-db"):
        return Path(on_path)
    raise ServerFailed(f"there is no mariadb-install-db beside {binary}: install the whole of MariaDB's server")
