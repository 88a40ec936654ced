"""One MySQL or MariaDB, found by URL: its connections and its errors."""

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT, CR, ER

from lapse.engine.errors import ConfigError, TimerRefused, TimerUnavailable
from lapse.timers.sql.statements import statements

Settings = Mapping[str, Any]
"""What `pymysql.connect` is given."""

DEFAULTS = {"connect_timeout": 5.0, "read_timeout": 10.0, "write_timeout": 10.0}
"""Seconds without an answer after which the server counts as away, unless the URL sets them."""

LOCK_WAIT = 5.0
"""Seconds, at most, that a statement waits for rows or for the table: an order's transaction may hold them and idle."""

OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0)}
"""The first versions with the statements that are used (SKIP LOCKED, JSON_TABLE)."""

_EXAMPLE = "write mysql://user:password@localhost:3306/database"
_TEXTS = ("unix_socket", "ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password")
_SWITCHES = ("ssl_disabled", "ssl_verify_cert", "ssl_verify_identity")
_OPTIONS = (*DEFAULTS, *_TEXTS, *_SWITCHES)

_AGAIN = {ER.NO_SUCH_TABLE, ER.TABLE_DEF_CHANGED}  # dropped under way: the next connection makes it again
_RIGHTS = {ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR}
_FINAL = {
    *_RIGHTS,
    ER.ACCESS_DENIED_ERROR,
    ER.BAD_DB_ERROR,
    ER.HOST_NOT_PRIVILEGED,
    ER.NOT_SUPPORTED_AUTH_MODE,
    ER.SPECIFIC_ACCESS_DENIED_ERROR,
    ER.PARSE_ERROR,
    CR.CR_SSL_CONNECTION_ERROR,
    CR.CR_SECURE_AUTH,
    CR.CR_NOT_IMPLEMENTED,
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
    1665,  # the binary log is to have statements
    1820,  # the password has to be changed first
    1862,
    1698,  # no password is taken from this account
    3118,  # the account is locked; in MariaDB 4151
    4151,
    3159,  # only encrypted connections are taken
}
_PASSING = {"OperationalError", "InterfaceError", "InternalError", "Error"}
"""Errors of these names pass unless their number is final: the server is away, shuts down, or took locks away."""


@contextmanager
def translated(of: type[Exception] = pymysql.err.Error) -> Iterator[None]:
    """Turn a driver's errors into the timer's: the one place where that is done.

    `of` is the class of the driver's errors: PyMySQL and mysqlclient number and name them alike.
    """
    try:
        yield
    except of as error:
        number = error.args[0] if error.args else None
        # The last of the arguments is what it says; before it may stand the number.
        said = next(iter(str(error.args[-1] if error.args else "").splitlines()), "") or type(error).__name__
        if number in _RIGHTS:
            said += f": grant SELECT, INSERT, UPDATE, DELETE{_MORE}"
        if number in _AGAIN or (type(error).__name__ in _PASSING and number not in _FINAL and not _distrusted(error)):
            raise TimerUnavailable(f"MySQL gives no answer: {said}") from error
        raise TimerRefused(f"MySQL says: {said}") from error


_MORE = " on lapse_deadline, or let the account create it: GRANT CREATE"


def is_forbidden(error: Exception) -> bool:
    """Whether a driver's error says that the account lacks a right."""
    return bool(error.args) and error.args[0] in _RIGHTS


def errors_of(connection: Any) -> type[Exception] | None:  # noqa: ANN401 - whatever it is
    """Give the class of the errors of a connection of PyMySQL or mysqlclient; None where it is none of these."""
    errors = getattr(connection, "Error", None)
    is_one = isinstance(errors, type) and issubclass(errors, Exception) and hasattr(connection, "get_server_info")
    return errors if is_one else None


def settings_of(url: str) -> dict[str, Any]:
    """Read mysql://user:password@host:3306/database?options as what PyMySQL takes. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:  # its text can hold the password
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
    """Open a connection that commits each statement by itself. Raises TimerRefused and the driver's errors."""
    try:
        connection = pymysql.connect(
            **settings, autocommit=True, charset="utf8mb4", client_flag=CLIENT.FOUND_ROWS, program_name="lapse"
        )
    except (OSError, RuntimeError) as error:  # no such certificate; a library of the driver's own is not there
        raise TimerRefused(f"MySQL cannot be asked: {error}") from error
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


def _distrusted(error: Exception) -> bool:
    """Whether the server has shown a certificate that is not to be trusted."""
    return isinstance(getattr(error, "original_exception", None), ssl.SSLCertVerificationError)


def _check(version: str) -> None:
    """Refuse a server without the statements that are used."""
    server = "MariaDB" if "mariadb" in version.lower() else "MySQL"
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < OLDEST[server]:
        needed = ", ".join(f"{name} {first}.{second}" for name, (first, second) in OLDEST.items())
        raise TimerRefused(f"{server} {version} is too old: the timer needs one of {needed}, or later")


def _value(name: str, text: str) -> Any:  # noqa: ANN401 - a number, a switch or a text, as PyMySQL takes it
    """Read one option. Raises ConfigError."""
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
