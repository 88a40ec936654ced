"""Sends one signed message to one address by HTTP POST, and returns the outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Self

from lapse.delivering.address import checked_address
from lapse.delivering.signing import Signer
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import ConfigError, MissingLibrary
from lapse.engine.visible import visible

try:
    import httpcore
    import httpx

    from lapse.delivering.no_answer import reason_of
    from lapse.network.connections import FAILURES, Connections
except ModuleNotFoundError as missing:
    raise MissingLibrary("lapse.delivering", "watch") from missing

LONGEST_WAIT = timedelta(hours=1)
"""The longest Retry-After that is accepted. A longer one, such as a year, is a receiver's mistake."""

MOST_BODY = 64 * 1024
"""How many bytes of an answer's body are read. The connection is used again only if the body ends within these."""

MOST_PHRASE = 100
"""How many characters of the words beside a status are kept."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to send. `id` is the same in each try, so that a receiver can recognise a second delivery."""

    id: str
    body: str
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The receiver answered.

    `retry_after` is the wait that it asks for, an hour at most; None if it asks for none. `body` is the beginning of
    the answer's body, of 64 KiB at most; with `whole`, it is all of it.
    """

    status: int
    phrase: str = ""
    retry_after: timedelta | None = None
    body: str = ""
    whole: bool = True

    @property
    def success(self) -> bool:
        """Whether the receiver accepted the message."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def redirect(self) -> bool:
        """Whether the receiver named another address, which was not followed."""
        return HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST

    @property
    def overloaded(self) -> bool:
        """Whether the receiver failed or is overloaded, so that its `retry_after` counts."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    def __str__(self) -> str:
        return f"{self.status} {self.phrase}".rstrip()


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No answer came, so it is unknown whether the message arrived. `reason` says why."""

    reason: str

    def __str__(self) -> str:
        return f"no answer: {self.reason}"


Outcome = Answer | NoAnswer


class Sender:
    """Sends messages to one address, signed by the Standard Webhooks specification. Thread-safe.

    * Redirects are not followed: a POST would become a GET, or its body would go to an unknown host.
    * Each call has a connection for itself, which stays open for the next call. A forked process opens its own.

    `timeout` is in seconds and ends the whole call: name lookup, connecting, TLS, sending, and all of the answer,
    however slowly the receiver sends it. A status that has arrived counts, also if the body after it is cut off.
    Without a `signer`, messages are not signed.

    Raises ConfigError for an address or a proxy that must not be used.
    """

    def __init__(self, url: str, *, signer: Signer | None, timeout: float = 10.0, insecure_http: bool = False) -> None:
        self.url = checked_address(url, insecure_http=insecure_http)
        self._signer = signer
        self._timeout = timeout
        try:
            self._connections = Connections(self.url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"the address to POST to cannot be read: {visible(str(error))}") from None

    def send(self, message: Message) -> Outcome:
        """Send one message once, and return the outcome. No failure of the network raises an exception."""
        headers = {"user-agent": "lapse", "accept": "*/*", "accept-encoding": "identity", **message.headers}
        if self._signer is not None:
            headers |= self._signer.headers(message.id, SYSTEM_CLOCK.now(), message.body)
        content, target = message.body.encode(), self._connections.target
        try:
            with (
                self._connections.lend(self._timeout) as connection,
                connection.stream("POST", target, headers=[*headers.items()], content=content) as response,
            ):
                body, whole = _read(response)
        except FAILURES as error:
            return NoAnswer(reason_of(error))
        phrase = response.extensions.get("reason_phrase", b"").decode("utf-8", "replace")
        wait = _retry_after(httpx.Headers(response.headers))
        return Answer(response.status, visible(phrase, MOST_PHRASE), wait, body, whole)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(response: httpcore.Response) -> tuple[str, bool]:
    """Return the beginning of the body, and whether that is all of it. The status has arrived, so this never raises."""
    body = bytearray()
    try:
        for part in response.iter_stream():
            body += part
            if len(body) > MOST_BODY:
                return body[:MOST_BODY].decode("utf-8", "replace"), False
    except FAILURES:
        return body.decode("utf-8", "replace"), False
    return body.decode("utf-8", "replace"), True


def _retry_after(headers: httpx.Headers) -> timedelta | None:
    """Return the wait that the receiver asks for; None if it asks for none.

    The header has whole seconds, or a date, which is compared with the date of the answer.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text), LONGEST_WAIT.total_seconds()))
    until = _date(text)
    if until is None:
        return None
    wait = until - (_date(headers.get("date", "")) or SYSTEM_CLOCK.now())
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
