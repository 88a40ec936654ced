"""Translates the errors of pika and of the broker into Lapse's errors."""

import ssl

from pika import exceptions

from lapse.engine.errors import TimerError, TimerRefused, TimerUnavailable


class NotFound(TimerUnavailable):
    """The queue or the exchange does not exist."""


class Locked(TimerUnavailable):
    """Another connection has declared the queue as exclusive."""


class PublishFailed(TimerUnavailable):
    """The broker did not store or could not route a message. Treat every message of the call as not armed."""


_NOT_FOUND, _IN_USE, _PRECONDITION = 404, 405, 406
_ADVICE = {
    403: "the account may not do that: check the user, the password and the permissions in the virtual host",
    _PRECONDITION: "a queue exists with other arguments: delete the queue named here, the next call declares it again",
    530: "the virtual host does not exist, or the account may not use it: check the URL's path",
    540: "this broker cannot do that: Lapse needs RabbitMQ 3.10 or later with all stable feature flags",
}
"""AMQP reply code → what the operator must change. With these codes, repeating the call does not help."""

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
    if advice := _advice(error, code):
        return TimerRefused(f"RabbitMQ at {where} refused: {text}; {advice}")
    return TimerUnavailable(f"RabbitMQ at {where} gave no answer: {text}")


def _advice(error: BaseException, code: int | None) -> str:
    """Return what the operator must change, or "" if repeating the call may help."""
    if isinstance(error, _REFUSED_AT_LOGIN):
        return _ADVICE[403]
    if isinstance(error, exceptions.IncompatibleProtocolError):
        return "the server there does not speak AMQP 0-9-1: is it RabbitMQ, and is the port right?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted: name the certificate authority's file with ?cafile="
    if code == _PRECONDITION and "inequivalent" not in _text(error):
        return ""  # for example a delivery that was unacknowledged for longer than the broker allows
    return _ADVICE.get(code or 0, "")


def _cause(error: BaseException) -> BaseException:
    """Return the innermost error: pika wraps the errors that occur while it connects."""
    inner = getattr(error, "exceptions", None) or getattr(error, "exception", None) or error.args[:1]
    last = inner[-1] if isinstance(inner, list | tuple) and inner else inner
    return _cause(last) if isinstance(last, BaseException) else error


def _text(error: BaseException) -> str:
    return str(getattr(error, "reply_text", "")) or str(error) or repr(error)
