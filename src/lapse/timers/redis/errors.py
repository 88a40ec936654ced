"""Translates the Redis client's exceptions into Lapse's errors. This is the only place that does so."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from lapse.engine.errors import TimerRefused, TimerUnavailable

_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterError,  # also raised when sixteen tries did not reach a slot that is moving between nodes
    exceptions.TryAgainError,
    exceptions.RedisClusterException,
)
_FINAL = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
# The code is at the start of the reply. Up to Redis 6.2 it follows the script's line: "…: @user_script: 9: -READONLY
# …".
_PASSING_REPLY = re.compile(
    r"(^-?|: -)(LOADING|READONLY|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MISCONF|OOM|BUSY|UNKILLABLE)\b"
)

# A server without TLS takes the first bytes for the beginning of a command, and waits for the rest until time is over.
# The other words are those of OpenSSL for an answer in another protocol.
_NO_TLS = re.compile(r"(?i)handshake operation timed out|wrong.version.number|record.layer.failure")
_NO_HELLO = re.compile(r"(?i)unknown command\W+hello|'hello' command|NOPROTO")


class Demoted(TimerUnavailable):
    """The server is a replica now. Its host name may lead to another server, which no open connection notices."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise TimerUnavailable or TimerRefused in place of the client's exceptions."""
    try:
        yield
    except _FINAL as error:
        raise TimerRefused(hello_hint(error) or f"Redis refused: {_account_hint(str(error))}") from error
    except exceptions.ReadOnlyError as error:
        raise Demoted(f"Redis cannot do it now: {error}") from error
    except _PASSING as error:
        raise TimerUnavailable(f"Redis gave no answer: {str(error).rstrip('.')}{_tls_hint(error)}") from error
    except exceptions.ResponseError as error:
        if hint := hello_hint(error):
            raise TimerRefused(hint) from None  # the server repeats the command's arguments, which have the password
        if found := _PASSING_REPLY.search(str(error)):
            passing = Demoted if found[2] == "READONLY" else TimerUnavailable
            raise passing(f"Redis cannot do it now: {error}") from error
        words, repeats_arguments, _ = str(error).partition(", with args beginning with")
        if "DB index is out of range" in words:
            words += (
                ": the last number of the URL is a database, which this server does not have; usually it has 0 to 15"
            )
        raise TimerRefused(f"Redis refused: {words}") from (None if repeats_arguments else error)


def hello_hint(error: Exception) -> str | None:
    """Return what to do about a server that refuses HELLO, a connection's first command; None for another error."""
    if not _NO_HELLO.search(str(error)):
        return None
    return (
        "this Redis, or a proxy before it, does not understand HELLO, with which protocol 3 begins: add ?protocol=2 to "
        "the URL, or &protocol=2 after another option"
    )


def _account_hint(words: str) -> str:
    """Return the server's words about the account, and what to do."""
    if "already authenticated" in words:  # so Redis answers a HELLO without a password
        return "authentication required. Write the password before the host, as :password@host or user:password@host"
    hint = "Check the user, the password and the ACL in the URL"
    if "Authentication required" in words:  # so Valkey answers any command that it does not know
        hint += "; if the password is there, the server does not understand HELLO: add ?protocol=2 to the URL"
    elif "invalid username-password" in words:
        hint += ", where a password without a user stands after a colon, as :password@host"
    return f"{words.rstrip('.?')}. {hint}"


def _tls_hint(error: BaseException) -> str:
    """Return what to do about a TLS handshake that failed, as the end of a sentence; "" for another error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                "; write the host's name as the certificate has it, and name the file of the authority that signed the "
                "certificate by ssl_ca_certs= in the URL"
            )
        if _NO_TLS.search(str(cause)):
            return "; there is no TLS at this port: name the server's port for TLS, or write redis:// for rediss://"
        cause = cause.__cause__ or cause.__context__
    return ""
