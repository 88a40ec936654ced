"""Translates the errors of PyMySQL and mysqlclient into Lapse's errors. This is the only place that does so."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.constants import CR, ER

from lapse.engine.errors import TimerRefused, TimerUnavailable
from lapse.engine.unreachable import explained

_AGAIN = {ER.NO_SUCH_TABLE, ER.TABLE_DEF_CHANGED}  # dropped while in use: the next connection creates the table again
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
    1665,  # the binary log is set to record statements
    1820,  # the password must be changed first
    1862,
    1698,  # this account does not log in with a password
    3118,  # the account is locked; in MariaDB 4151
    4151,
    3159,  # only encrypted connections are accepted
}
_PASSING = {"OperationalError", "InterfaceError", "InternalError", "Error"}
"""Errors with these names are temporary unless their number is final: the server is unavailable, shuts down, or has
ended a deadlock."""
_ADVICE = {
    ER.ACCESS_DENIED_ERROR: "check the user and the password in the URL",
    1698: "give this account a password, and write it in the URL",
    ER.BAD_DB_ERROR: "create the database, or correct the URL's path",
    CR.CR_SSL_CONNECTION_ERROR: "switch on TLS at the server, or leave the ssl_ options out of the URL",
}
"""The number of an error that stays → what the operator must change."""
_MORE = " on lapse_deadline, or let the account create it: GRANT CREATE"


# The classes are those of the package and not of `pymysql.err`: beside `pymysql.install_as_MySQLdb()`, Django imports
# `MySQLdb.err`, and Python then puts this second copy in the place of `pymysql.err`. No connection raises its classes.
@contextmanager
def translated(of: type[Exception] = pymysql.Error) -> Iterator[None]:
    """Raise TimerUnavailable or TimerRefused in place of a driver's errors.

    `of` is the class of the driver's errors. PyMySQL and mysqlclient use the same numbers and names.
    """
    try:
        yield
    except of as error:
        number = error.args[0] if error.args else None
        # The last argument is the text. The number may stand before the text.
        text = next(iter(str(error.args[-1] if error.args else "").splitlines()), "") or type(error).__name__
        if number in _RIGHTS:
            text += f": grant SELECT, INSERT, UPDATE, DELETE{_MORE}"
        if number in _ADVICE:
            text += f": {_ADVICE[number]}"
        if number in _AGAIN or (type(error).__name__ in _PASSING and number not in _FINAL and not _distrusted(error)):
            raise TimerUnavailable(f"MySQL gives no answer: {explained(text)}") from error
        raise TimerRefused(f"MySQL says: {text}") from error


def is_forbidden(error: Exception) -> bool:
    """Return whether a driver's error says that the account lacks a permission."""
    return bool(error.args) and error.args[0] in _RIGHTS


def errors_of(connection: Any) -> type[Exception] | None:  # noqa: ANN401 - any object, which this function checks
    """Return the error class of a PyMySQL or mysqlclient connection; None for any other object."""
    errors = getattr(connection, "Error", None)
    is_mysql = isinstance(errors, type) and issubclass(errors, Exception) and hasattr(connection, "get_server_info")
    return errors if is_mysql else None


def _distrusted(error: Exception) -> bool:
    """Return whether the server has shown a certificate that is not trusted."""
    return isinstance(getattr(error, "original_exception", None), ssl.SSLCertVerificationError)
