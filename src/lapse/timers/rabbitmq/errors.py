"""Translates the errors of pika and of the broker into Lapse's errors."""

import re
import shlex
import ssl
from collections.abc import Iterable

from pika import exceptions

from lapse.engine.errors import TimerError, TimerRefused, TimerUnavailable
from lapse.engine.unreachable import explained, plain


class NotFound(TimerUnavailable):
    """The queue or the exchange does not exist."""


class Locked(TimerUnavailable):
    """Another connection has declared the queue as exclusive."""


class PublishFailed(TimerUnavailable):
    """The broker did not store or could not route a message. Treat every message of the call as not armed."""


class QueueFull(PublishFailed):
    """A queue of the timer did not take a message. The connection is in order, and the queue keeps all that it has.

    `stored` has the bodies of those messages of the call that the broker did store.
    """

    def __init__(self, text: str, stored: Iterable[bytes] = ()) -> None:
        super().__init__(text)
        self.stored = set(stored)


class AccessRefused(TimerRefused):
    """The account lacks a permission on a queue or an exchange."""


_ACCESS_REFUSED, _NOT_FOUND, _IN_USE, _PRECONDITION = 403, 404, 405, 406
_ADVICE = {
    _ACCESS_REFUSED: "check the user, the password and the permissions in the virtual host",
    _PRECONDITION: "a queue exists with other arguments: delete the queue named here, with its messages; the next call "
    "declares it again, and workers arm the orders again",
    530: "the virtual host does not exist, or the account may not use it: check the URL's path",
    540: "this broker cannot do that: Lapse needs RabbitMQ 3.10 or later with all stable feature flags",
}
"""AMQP reply code → what the operator must change. With these codes, repeating the call does not help."""

_LIMITS = {
    "queue limit": "a timer needs 30 queues: raise max-queues of the virtual host (rabbitmqctl set_vhost_limits)",
    "connection limit": "a process needs 2 connections for each timer: raise max-connections of the virtual host "
    "(rabbitmqctl set_vhost_limits) or of the user (rabbitmqctl set_user_limits), or close other connections",
    "number of channels": "a process needs 4 channels for each timer: raise max-channels of the user "
    "(rabbitmqctl set_user_limits)",
}
"""A part of the broker's message → what the operator must change. Repeating the call helps once there is room."""

_REFUSED_ON = re.compile(r"access to (?:.* in )?vhost '(?P<vhost>.*)' refused for user '(?P<user>.*)'")

_IN_PIKAS_WORDS = re.compile(r"""\w+: \(\d+\) (?P<quote>['"])(?P<text>.*)(?P=quote)""", re.DOTALL)

_REFUSED_AT_LOGIN = (
    exceptions.AuthenticationError,
    exceptions.ProbableAuthenticationError,
    exceptions.ProbableAccessDeniedError,
)


def translated(error: BaseException, where: str) -> TimerError:
    """Return Lapse's error for an error of pika. The message does not contain the password."""
    if isinstance(error, TimerError):
        return error
    error = _cause(error)
    code = getattr(error, "reply_code", None)
    text = _text(error)
    # A 404 with another text means that the queue exists but is not ready yet, as after a restart.
    if code == _NOT_FOUND and ("no queue" in text or "no exchange" in text):
        return NotFound(f"RabbitMQ at {where}: {text}")
    if code == _IN_USE:
        return Locked(f"RabbitMQ at {where}: {text}")
    if limit := next((advice for part, advice in _LIMITS.items() if part in text), ""):
        return TimerUnavailable(f"RabbitMQ at {where} refused: {text}; {limit}")
    if refused := _REFUSED_ON.search(text):
        vhost, user = shlex.quote(refused["vhost"]), shlex.quote(refused["user"])
        return AccessRefused(
            f"RabbitMQ at {where} refused: {text}; permit the account the timer's names, beside its others: "
            rf"rabbitmqctl set_permissions -p {vhost} {user} '^lapse\.' '^(lapse\.|amq\.default$)' '^lapse\.'"
        )
    advice = _advice(error, code)
    text = f"{plain(text)}; {advice}" if advice else explained(text)
    kind, did = (TimerRefused, "refused") if advice else (TimerUnavailable, "gave no answer")
    return kind(f"RabbitMQ at {where} {did}: {text}")


def _advice(error: BaseException, code: int | None) -> str:
    """Return what the operator must change, or "" if repeating the call may help."""
    text = _text(error)
    if "vhost" in text and "not found" in text:
        return "create the virtual host (rabbitmqctl add_vhost), or correct the URL's path"
    if isinstance(error, _REFUSED_AT_LOGIN):
        return _ADVICE[_ACCESS_REFUSED]
    if isinstance(error, exceptions.IncompatibleProtocolError):
        return "the server there does not speak AMQP 0-9-1: is it RabbitMQ, and is the port right?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted: name the certificate authority's file with ?cafile="
    if code == _PRECONDITION and "inequivalent" not in text:
        return ""  # for example a delivery that was unacknowledged for longer than the broker allows
    return _ADVICE.get(code or 0, "")


def _cause(error: BaseException) -> BaseException:
    """Return the innermost error: pika wraps the errors that occur while it connects."""
    inner = getattr(error, "exceptions", None) or getattr(error, "exception", None) or error.args[:1]
    last = inner[-1] if isinstance(inner, list | tuple) and inner else inner
    return _cause(last) if isinstance(last, BaseException) else error


def _text(error: BaseException) -> str:
    """Return the broker's own words, or the error's. pika puts them into quotes, after the name of an exception."""
    if isinstance(error, exceptions.IncompatibleProtocolError):
        return "it ended the connection at its beginning"
    text = str(getattr(error, "reply_text", "")) or str(error) or repr(error)
    if "Timeout while setting up AMQP" in text:
        return "timeout before it spoke AMQP, usually at port 5672, or 5671 by TLS"
    quoted = _IN_PIKAS_WORDS.fullmatch(text)
    return quoted["text"] if quoted else text
