"""Fires a deadline by a signed HTTP POST, and says by the answer what is to become of it."""

import hashlib
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from lapse.delivering.address import checked_address, is_loopback
from lapse.delivering.body import Body
from lapse.delivering.signing import Signer
from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim, to_milliseconds
from lapse.engine.decision import Release, Settle
from lapse.engine.errors import MissingLibrary

try:
    import httpx
except ModuleNotFoundError as missing:
    raise MissingLibrary("lapse.delivering.webhook", "watch") from missing

NO_SUCH_ORDER = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
SETTLED = (*NO_SUCH_ORDER, HTTPStatus.CONFLICT)
"""Answers that asking again will not change: no such order, no longer; or it is not to be cancelled, as when paid."""

MOST_WAIT = timedelta(hours=1)
"""No Retry-After makes a delivery wait longer: a shop that means a year has made a mistake."""

MOST_BODY = 64 * 1024
"""Bytes of an answer's body that are read, only so that the connection can be used again."""

KEEP_IDLE = 1.5
"""Seconds for which an idle connection is used again: less than after which servers close one, so that none is closed
just as an order is on its way."""

RETRY = Backoff(first=timedelta(seconds=1), most=timedelta(minutes=10))


class Webhook:
    """POSTs one claim's key to one address, signed by the Standard Webhooks specification. For many threads at once.

    * 2xx, 404, 409 and 410 settle the deadline. Whatever else is answered, or nothing, is tried again after `backoff`,
      or later where a 429 or 5xx has a Retry-After: a wrong secret (401) or a deploy in between (400, 502) is mended
      by somebody, and then nothing has to be dug up. The worker buries what was tried too often.
    * No redirect is followed, to whatever host: a POST would become a GET, or its body would go to a stranger.
    * The message's id is the same with each try, so that a receiver can tell a second delivery.

    `timeout` is in seconds, for connecting, for sending, and for the first byte of the answer; the answer's body may
    take as long again, and decides nothing. `name` is the timer's, and goes into the message's id. Without a `signer`
    nothing is signed. Each thread that calls has a connection of its own, which stays open for the next call.

    Raises ConfigError for an address that must not be used.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        signer: Signer | None,
        body: Body | None = None,
        timeout: float = 10.0,
        insecure_http: bool = False,
        backoff: Backoff = RETRY,
    ) -> None:
        self.url = checked_address(url, insecure_http=insecure_http)
        self._name = name
        self._signer = signer
        self._body = body or Body()
        self._timeout = timeout
        self._backoff = backoff
        # A proxy from the environment may be the way out of the house, but is no way to this very machine.
        self._trust_env = not is_loopback(urlsplit(self.url).hostname or "")
        self._certificates = httpx.create_ssl_context(trust_env=self._trust_env)
        self._own = threading.local()
        self._clients: list[httpx.Client] = []

    def __call__(self, claim: Claim) -> Settle | Release:
        """Deliver one. Returns what is to become of it; raises nothing for anything that the network can do."""
        body = self._body.of(claim.key)
        headers = {"content-type": "application/json", "user-agent": "lapse"}
        if self._signer is not None:
            headers |= self._signer.headers(self._message_id(claim), SYSTEM_CLOCK.now(), body)
        try:
            with self._client().stream("POST", self.url, content=body.encode(), headers=headers) as response:
                self._drain(response)
        except httpx.HTTPError as error:
            reason = f"no answer: {type(error).__name__}: {error}".rstrip(": ")
            return Release(self._backoff.delay(claim.attempt), reason=reason)
        return self._decide(claim, response)

    def close(self) -> None:
        """Give up the connections."""
        for client in self._clients:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _client(self) -> httpx.Client:
        """Give this thread's own. A shared one may close, for idleness, what another thread has just begun to use."""
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

    def _decide(self, claim: Claim, response: httpx.Response) -> Settle | Release:
        status = response.status_code
        if response.is_success or status in SETTLED:
            return Settle(f"{_said(response)}: the shop knows no such order" if status in NO_SUCH_ORDER else "")
        delay = self._backoff.delay(claim.attempt)
        if status == HTTPStatus.TOO_MANY_REQUESTS or response.is_server_error:
            asked = _retry_after(response)
            if asked is not None:
                # Not before, and not all at the same moment.
                delay = max(delay, min(asked, MOST_WAIT) + Backoff().delay(1))
        if response.is_redirect:
            return Release(delay, reason=f"{_said(response)}: redirects are not followed, give the address itself")
        return Release(delay, reason=_said(response))

    def _drain(self, response: httpx.Response) -> None:
        """Read the body so that the connection can be used again; one that is too long or too slow is cut off."""
        end = SYSTEM_CLOCK.monotonic() + self._timeout
        read = 0
        with suppress(httpx.HTTPError):  # the shop has said by its status what it did, and that stands
            for chunk in response.iter_raw():
                read += len(chunk)
                if read > MOST_BODY or SYSTEM_CLOCK.monotonic() > end:
                    return

    def _message_id(self, claim: Claim) -> str:
        about = f"{self._name}\0{claim.key}\0{to_milliseconds(claim.due_at)}"
        return f"msg_{hashlib.sha256(about.encode()).hexdigest()[:32]}"


def _said(response: httpx.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}".rstrip()


def _retry_after(response: httpx.Response) -> timedelta | None:
    """Read how long the shop wants to be left alone: whole seconds, or a date, by the clock that dated the answer."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text), MOST_WAIT.total_seconds()))
    until = _date(text)
    if until is None:
        return None
    return max(until - (_date(response.headers.get("date", "")) or SYSTEM_CLOCK.now()), timedelta(0))


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
