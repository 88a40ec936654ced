"""Sends one signed message to one address by HTTP POST, and returns what came back."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
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
"""No Retry-After asks for more: a receiver that means a year has made a mistake."""

MOST_BODY = 64 * 1024
"""Bytes of an answer's body that are read, only so that the connection can be used again."""

KEEP_IDLE = 1.5
"""Seconds for which an idle connection is used again. Servers close one later than that, so that none is closed just
as a message is on its way."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. `id` stays the same with each try, so that a receiver recognises a second delivery."""

    id: str
    body: str
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The receiver answered. `retry_after` is how long it asks to be left alone, an hour at most; None: not at all."""

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
        """Whether the receiver itself failed or has too much to do, so that its `retry_after` counts."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    def __str__(self) -> str:
        return f"{self.status} {self.phrase}".rstrip()


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The network or the receiver gave no answer, so whether the message arrived is unknown. `reason` says why."""

    reason: str

    def __str__(self) -> str:
        return f"no answer: {self.reason}"


Outcome = Answer | NoAnswer


class Sender:
    """Sends messages to one address, signed by the Standard Webhooks specification. For many threads at once.

    * No redirect is followed, to any host: a POST would become a GET, or its body would go to a stranger.
    * Each thread that calls has a connection of its own, which stays open for the next call.

    `timeout` is in seconds, for connecting, for sending, and for the first byte of the answer; the answer's body may
    take as long again, and decides nothing. Without a `signer` nothing is signed.

    Raises ConfigError for an address that must not be used.
    """

    def __init__(self, url: str, *, signer: Signer | None, timeout: float = 10.0, insecure_http: bool = False) -> None:
        self.url = checked_address(url, insecure_http=insecure_http)
        self._signer = signer
        self._timeout = timeout
        # A proxy from the environment may be the way out of the local network, but is no way to this very machine.
        self._trust_env = not is_loopback(urlsplit(self.url).hostname or "")
        self._certificates = httpx.create_ssl_context(trust_env=self._trust_env)
        self._own = threading.local()
        self._clients: list[httpx.Client] = []

    def send(self, message: Message) -> Outcome:
        """Send one message once, and return the outcome. Raises nothing for anything that the network can do."""
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _client(self) -> httpx.Client:
        """Return this thread's client, opening one if needed.

        A client that threads share may close, as idle for too long, a connection that another thread has just begun to
        use.
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
        """Read the body so that the connection can be used again; one that is too long or too slow is cut off."""
        end = SYSTEM_CLOCK.monotonic() + self._timeout
        read = 0
        with suppress(httpx.HTTPError):  # the receiver has answered by its status, and that stands
            for chunk in response.iter_raw():
                read += len(chunk)
                if read > MOST_BODY or SYSTEM_CLOCK.monotonic() > end:
                    return


def _retry_after(response: httpx.Response) -> timedelta | None:
    """Return how long the receiver asks to be left alone; None where it does not ask.

    The header has whole seconds, or a date by the clock that dated the answer.
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
