"""Sends one signed message to one address by HTTP POST, and returns the outcome."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Self
from urllib.parse import urlsplit

from lapse.delivering.address import checked_address, is_loopback
from lapse.delivering.signing import Signer
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import MissingLibrary

try:
    import httpx
except ModuleNotFoundError as missing:
    raise MissingLibrary("lapse.delivering", "watch") from missing

LONGEST_WAIT = timedelta(hours=1)
"""The longest Retry-After that is accepted. A longer one, such as a year, is a receiver's mistake."""

MOST_BODY = 64 * 1024
"""How many bytes of an answer's body are read, only so that the connection can be used again."""

KEEP_IDLE = 1.5
"""Seconds for which an idle connection may be used again. Servers usually close idle connections later, so that they do
not close one while a message is on its way."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to send. `id` is the same in each try, so that a receiver can recognise a second delivery."""

    id: str
    body: str
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The receiver answered. `retry_after` is the wait that it asks for, an hour at most; None if it asks for none."""

    status: int
    phrase: str = ""
    retry_after: timedelta | None = None

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
    * Each calling thread has its own connection, which stays open for the next call.

    `timeout` is in seconds and applies to connecting, to sending, and to the first byte of the answer. The answer's
    body may take the same time again; it has no effect on the outcome. Without a `signer`, messages are not signed.

    Raises ConfigError for an address that must not be used.
    """

    def __init__(self, url: str, *, signer: Signer | None, timeout: float = 10.0, insecure_http: bool = False) -> None:
        self.url = checked_address(url, insecure_http=insecure_http)
        self._signer = signer
        self._timeout = timeout
        # A proxy from the environment may lead out of the local network, but not to this machine.
        self._trust_env = not is_loopback(urlsplit(self.url).hostname or "")
        self._certificates = httpx.create_ssl_context(trust_env=self._trust_env)
        self._own = threading.local()
        self._clients: list[httpx.Client] = []

    def send(self, message: Message) -> Outcome:
        """Send one message once, and return the outcome. No failure of the network raises an exception."""
        headers = {"user-agent": "lapse", **message.headers}
        if self._signer is not None:
            headers |= self._signer.headers(message.id, SYSTEM_CLOCK.now(), message.body)
        try:
            with self._client().stream("POST", self.url, content=message.body.encode(), headers=headers) as response:
                self._drain(response)
        except httpx.HTTPError as error:
            return NoAnswer(f"{type(error).__name__}: {error}".rstrip(": "))
        return Answer(response.status_code, response.reason_phrase, _retry_after(response))

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _client(self) -> httpx.Client:
        """Return this thread's client, opening one if needed.

        A shared client may close a connection as idle too long although another thread has just begun to use it.
        """
        client: httpx.Client | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = httpx.Client(
                timeout=self._timeout,
                follow_redirects=False,
                limits=httpx.Limits(max_connections=1, keepalive_expiry=KEEP_IDLE),
                trust_env=self._trust_env,
                verify=self._certificates,
            )
            self._clients.append(client)
        return client

    def _drain(self, response: httpx.Response) -> None:
        """Read the body so that the connection can be used again. Stop if the body is too long or too slow."""
        end = SYSTEM_CLOCK.monotonic() + self._timeout
        read = 0
        with suppress(httpx.HTTPError):  # the status is the receiver's answer, and it has arrived
            for chunk in response.iter_raw():
                read += len(chunk)
                if read > MOST_BODY or SYSTEM_CLOCK.monotonic() > end:
                    return


def _retry_after(response: httpx.Response) -> timedelta | None:
    """Return the wait that the receiver asks for; None if it asks for none.

    The header has whole seconds, or a date, which is compared with the date of the answer.
    """
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text), LONGEST_WAIT.total_seconds()))
    until = _date(text)
    if until is None:
        return None
    wait = until - (_date(response.headers.get("date", "")) or SYSTEM_CLOCK.now())
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
