"""What pika and the broker say goes wrong, in this package's own words."""

import ssl

from pika import exceptions

from lapse.engine.errors import TimerError, TimerRefused, TimerUnavailable


class Absent(TimerUnavailable):
    """There is no such queue or exchange."""


class Locked(TimerUnavailable):
    """Another connection has the queue to itself."""


class Undelivered(TimerUnavailable):
    """The broker did not keep a message. None of those it was sent with counts as armed."""


_NOT_FOUND, _IN_USE, _PRECONDITION = 404, 405, 406
_REFUSING = {
    403: "the account may not do that: check the user, the password and the permissions in the virtual host",
    _PRECONDITION: "a queue is there with other arguments: delete what is named here, the next call makes it anew",
    530: "the account may not use this virtual host, or there is none: check the URL's path",
    540: "this broker cannot do that: Lapse needs RabbitMQ 3.10 or later with all stable feature flags",
}
"""AMQP's reply codes that trying again does not change, and what to do."""

_REFUSED_BEFORE = (
    exceptions.AuthenticationError,
    exceptions.ProbableAuthenticationError,
    exceptions.ProbableAccessDeniedError,
)


def translated(error: BaseException, where: str) -> TimerError:
    """Give this package's error for pika's. The URL's password is in none of them."""
    if isinstance(error, TimerError):
        return error
    error = _root(error)
    code = getattr(error, "reply_code", None)
    said = _said(error)
    if code == _NOT_FOUND and ("no queue" in said or "no exchange" in said):  # else it is there, but not up yet
        return Absent(f"RabbitMQ at {where}: {said}")
    if code == _IN_USE:
        return Locked(f"RabbitMQ at {where}: {said}")
    if advice := _advice(error, code):
        return TimerRefused(f"RabbitMQ at {where} refused: {said}; {advice}")
    return TimerUnavailable(f"RabbitMQ at {where} gave no answer: {said}")


def _advice(error: BaseException, code: int | None) -> str:
    """Say what to change, where trying again would change nothing."""
    if isinstance(error, _REFUSED_BEFORE):
        return _REFUSING[403]
    if isinstance(error, exceptions.IncompatibleProtocolError):
        return "what answers there does not speak AMQP 0-9-1: is it RabbitMQ, and the right port?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted: name the one that signed it with ?cafile="
    if code == _PRECONDITION and "inequivalent" not in _said(error):
        return ""  # that something was held for too long, for example
    return _REFUSING.get(code or 0, "")


def _root(error: BaseException) -> BaseException:
    """Look into the errors that pika wraps around what happened while it connected."""
    inner = getattr(error, "exceptions", None) or getattr(error, "exception", None) or error.args[:1]
    first = inner[-1] if isinstance(inner, list | tuple) and inner else inner
    return _root(first) if isinstance(first, BaseException) else error


def _said(error: BaseException) -> str:
    return str(getattr(error, "reply_text", "")) or str(error) or repr(error)
