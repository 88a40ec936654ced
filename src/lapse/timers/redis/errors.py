"""Translates the Redis client's exceptions into Lapse's errors. This is the only place that does so."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from lapse.engine.errors import TimerError, TimerRefused, TimerUnavailable
from lapse.engine.unreachable import explained, plain
from lapse.timers.redis import replies

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
ARGUMENTS = ", with args beginning with"
"""What follows, in the server's words, is the beginning of a command's arguments."""

_NO_HELLO = re.compile(r"(?i)unknown command\W+hello|'hello' command|NOPROTO")


class Demoted(TimerUnavailable):
    """The server is a replica now. Its host name may lead to another server, which no open connection notices."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise TimerUnavailable or TimerRefused in place of the client's exceptions."""
    try:
        yield
    except (exceptions.RedisError, exceptions.RedisClusterException) as error:
        # A server repeats the arguments of a command that it does not know. Those of HELLO have the password.
        repeats_arguments = ARGUMENTS in str(error) or hello_hint(error)
        raise _translation(error) from (None if repeats_arguments else error)


@contextmanager
def first_contact() -> Iterator[None]:
    """Raise TimerUnavailable with what to do if the first connection ends without an answer, as a port for TLS does."""
    try:
        yield
    except TimerUnavailable as error:
        if replies.ended_at_once(error):
            raise TimerUnavailable(replies.PORT_OF_TLS) from error
        raise


def _translation(error: Exception) -> TimerError:
    """Return the error of Lapse, with a sentence of `replies.py` where there is one, or else the server's words."""
    words = str(error).partition(ARGUMENTS)[0].rstrip(".")
    code = _PASSING_REPLY.search(words)
    if isinstance(error, exceptions.ReadOnlyError) or (code and code[2] == "READONLY"):
        return Demoted(replies.READ_ONLY)
    if sentence := hello_hint(error):
        return TimerRefused(sentence)
    if sentence := replies.final(error):
        return TimerRefused(f"Redis refused: {sentence}")
    hint = _tls_hint(error)
    if not hint and (sentence := replies.passing(error)):
        return TimerUnavailable(sentence)
    if code or isinstance(error, _PASSING):
        return TimerUnavailable(f"Redis gave no answer: {plain(words) + hint if hint else explained(words)}")
    right = f"; {replies.NO_RIGHT}" if isinstance(error, _FINAL) else ""
    return TimerRefused(f"Redis refused: {words}{right}")


def hello_hint(error: Exception) -> str | None:
    """Return what to do about a server that refuses HELLO, a connection's first command; None for another error."""
    if not _NO_HELLO.search(str(error)):
        return None
    return (
        "this Redis, or a proxy before it, does not understand HELLO, with which protocol 3 begins: add ?protocol=2 to "
        "the URL, or &protocol=2 after another option"
    )


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
