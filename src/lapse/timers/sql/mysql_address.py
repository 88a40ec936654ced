"""MySQL and MariaDB URLs, and connections to the databases that they name."""

import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT

from lapse.engine.errors import TimerRefused
from lapse.engine.url import Form
from lapse.engine.url_values import FILE, SECONDS, SECRET, SWITCH, TEXT, Option
from lapse.timers.sql.statements import statements

Settings = Mapping[str, Any]
"""The arguments of `pymysql.connect`."""

LOCK_WAIT = 5.0
"""The longest time, in seconds, that a statement waits for locks on rows or on the table.

An order's transaction may hold such locks and stay idle.
"""

OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0)}
"""The oldest versions that have the statements used here (SKIP LOCKED, JSON_TABLE)."""

_OPTIONS = {
    "connect_timeout": Option(
        SECONDS, "seconds after which a server that takes no connection counts as unavailable", 5.0
    ),
    "read_timeout": Option(SECONDS, "seconds after which a server that does not answer counts as unavailable", 10.0),
    "ssl_ca": Option(FILE, "the authorities that are trusted, in PEM; with this or the next two, TLS is required"),
    "ssl_cert": Option(FILE, "the client's certificate, in PEM"),
    "ssl_disabled": Option(SWITCH, "`true`: no TLS, also where the server offers TLS", unless_set="false"),
    "ssl_key": Option(FILE, "the key of the client's certificate, in PEM"),
    "ssl_key_password": Option(SECRET, "the password of that key"),
    "ssl_verify_cert": Option(
        SWITCH, "whether an authority must have signed the server's certificate", unless_set="false"
    ),
    "ssl_verify_identity": Option(SWITCH, "whether the certificate must be for this host", unless_set="false"),
    "unix_socket": Option(FILE, "the path of a socket, instead of host and port"),
    "write_timeout": Option(SECONDS, "seconds after which a server that reads no data counts as unavailable", 10.0),
}

FORMS = {
    scheme: Form(
        example=f"{scheme}://user:password@localhost:3306/database",
        hosts=(0, 1),
        path={"database": Option(TEXT, "the database")},
        needed=1,
        options=_OPTIONS,
        instead={
            **dict.fromkeys(("ssl", "ssl_mode", "sslmode"), "name the authority's file in ssl_ca= to require TLS"),
            "charset": "the timer always uses utf8mb4, so leave it out",
        },
    )
    for scheme in ("mysql", "mariadb")
}
"""Scheme → what its URLs understand."""


def settings_of(url: str) -> dict[str, Any]:
    """Return PyMySQL's arguments for mysql://user:password@host:3306/database?options. Raises ConfigError."""
    read = FORMS[url.partition(":")[0].lower()].read(url)
    host, port = read.hosts[0] if read.hosts else ("localhost", None)
    settings = {"host": host, **read.options}
    if port:
        settings["port"] = port
    if read.user:
        settings["user"] = read.user
    if read.password:
        settings["password"] = read.password.encode()
    return settings


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
