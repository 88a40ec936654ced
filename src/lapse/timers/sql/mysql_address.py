"""MySQL and MariaDB URLs, and connections to the databases that they name."""

import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT

from lapse.engine.errors import ConfigError, TimerRefused
from lapse.timers.sql.statements import statements

Settings = Mapping[str, Any]
"""The arguments of `pymysql.connect`."""

DEFAULTS = {"connect_timeout": 5.0, "read_timeout": 10.0, "write_timeout": 10.0}
"""Seconds without an answer after which the server counts as unavailable, unless the URL sets them."""

LOCK_WAIT = 5.0
"""The longest time, in seconds, that a statement waits for locks on rows or on the table.

An order's transaction may hold such locks and stay idle.
"""

OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0)}
"""The oldest versions that have the statements used here (SKIP LOCKED, JSON_TABLE)."""

_EXAMPLE = "write mysql://user:password@localhost:3306/database"
_TEXTS = ("unix_socket", "ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password")
_SWITCHES = ("ssl_disabled", "ssl_verify_cert", "ssl_verify_identity")
_OPTIONS = (*DEFAULTS, *_TEXTS, *_SWITCHES)


def settings_of(url: str) -> dict[str, Any]:
    """Return PyMySQL's arguments for mysql://user:password@host:3306/database?options. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:  # the error's text can contain the password
        raise ConfigError(f"not a MySQL URL: {_EXAMPLE}") from None
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in database or parts.fragment:
        raise ConfigError(f"a MySQL URL names one database: {_EXAMPLE}")
    settings: dict[str, Any] = {**DEFAULTS, "host": parts.hostname or "localhost", "database": database}
    if port:
        settings["port"] = port
    if parts.username:
        settings["user"] = unquote(parts.username)
    if parts.password:
        settings["password"] = unquote(parts.password).encode()
    return settings | {name: _value(name, text) for name, text in given}


def connect(settings: Settings) -> "Connection[Any]":
    """Return a new connection that commits each statement by itself. Raises TimerRefused and the driver's errors."""
    try:
        connection = pymysql.connect(
            **settings, autocommit=True, charset="utf8mb4", client_flag=CLIENT.FOUND_ROWS, program_name="lapse"
        )
    except (OSError, RuntimeError) as error:  # a certificate's file or a library that the driver needs is missing
        raise TimerRefused(f"MySQL cannot be reached: {error}") from error
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT VERSION()")
            for (version,) in cursor.fetchall():
                _check(str(version))
            seconds = max(1, int(min(LOCK_WAIT, settings["read_timeout"] / 2)))
            for statement in statements("mysql")["session"]:
                cursor.execute(statement, {"seconds": seconds})
    except BaseException:
        connection.close()
        raise
    return connection


def _check(version: str) -> None:
    """Raise TimerRefused for a server that lacks the statements used here."""
    server = "MariaDB" if "mariadb" in version.lower() else "MySQL"
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < OLDEST[server]:
        needed = ", ".join(f"{name} {first}.{second}" for name, (first, second) in OLDEST.items())
        raise TimerRefused(f"{server} {version} is too old: the timer needs one of {needed}, or later")


def _value(name: str, text: str) -> Any:  # noqa: ANN401 - a number, a switch or a text, as PyMySQL takes it
    """Return the value of one option. Raises ConfigError."""
    if name in _TEXTS and text:
        return text
    if name in _SWITCHES and text in ("true", "false"):
        return text == "true"
    if name in DEFAULTS and re.fullmatch(r"\d+(\.\d+)?", text) and float(text) > 0:
        return float(text)
    if name in _OPTIONS:
        kind = "true or false" if name in _SWITCHES else "a number of seconds" if name in DEFAULTS else "a text"
        raise ConfigError(f"{name} in a MySQL URL is {kind}; got {text!r}")
    raise ConfigError(f"a MySQL URL has no option {name!r}: it takes {', '.join(sorted(_OPTIONS))}")
