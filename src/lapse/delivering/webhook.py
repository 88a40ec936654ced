"""Delivers claims: makes a message of each claim, and a decision on the claim of the outcome."""

import hashlib
from datetime import timedelta
from http import HTTPStatus

from lapse.delivering.accept import Accept, beginning, is_document, looks_like_failure, looks_like_page
from lapse.delivering.body import Body
from lapse.delivering.sender import Answer, Message, NoAnswer, Outcome, Sender
from lapse.engine.backoff import Backoff
from lapse.engine.deadline import Claim, to_milliseconds
from lapse.engine.decision import Release, Settle

NO_SUCH_ORDER = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
FINAL = (*NO_SUCH_ORDER, HTTPStatus.CONFLICT)
"""Final answers: there is no such order, or it must not be cancelled, for example because it was paid."""

_PAGE = (
    "counted as delivered, although it answered a page of HTML. If that is a login or an error page, correct the "
    "address or let its view ask for no login; --accept with a field of the JSON, like --accept code=0, refuses pages"
)
_NO_ORDER = "the shop knows no such order, or the address to POST to is wrong"
_NO_VIEW = (
    "the address to POST to may be wrong, because it has accepted no call yet: correct it, or let the shop answer JSON "
    "for an order that it does not know"
)
_ADVICE: dict[int, str] = {
    **dict.fromkeys(NO_SUCH_ORDER, _NO_VIEW),
    HTTPStatus.UNAUTHORIZED: "the shop refuses the call: its view must check the signature, and ask for no login",
    HTTPStatus.FORBIDDEN: "the shop refuses the call: its view must check the signature, and no login or CSRF token",
    HTTPStatus.METHOD_NOT_ALLOWED: "this address takes no POST: correct the address, or let its view take POST",
}
"""Status → what the operator must change. Meanwhile the deliveries are tried again."""

RETRY = Backoff(first=timedelta(seconds=1), most=timedelta(minutes=10))


class Webhook:
    """A handler for a ConcurrentWorker: sends each claim's key, and decides by the answer. Thread-safe.

    2xx and 409 settle the deadline. 404 and 410 do so too, if the address has accepted a call of this process before,
    or if the answer is JSON: else the address may be wrong, and every order would be lost to it. After any other
    answer, or none, the delivery is tried again after `backoff`, or later if a 429 or 5xx has a Retry-After. Meanwhile
    the operator can fix a wrong secret (401) or a failed deploy (400, 502), and need not revive any deadline. The
    worker buries a deadline that was tried too often.

    With `accept`, a 2xx settles the deadline only if its JSON says so; any other 2xx is tried again. Without it, the
    first 2xx that looks like a failure or a page settles with a reason, which is logged as a warning.

    `name` is the timer's name. A message's id consists of this name, the key and the deadline.
    """

    def __init__(
        self, sender: Sender, *, name: str, body: Body, backoff: Backoff = RETRY, accept: Accept | None = None
    ) -> None:
        self._sender = sender
        self._name = name
        self._body = body
        self._backoff = backoff
        self._accept = accept
        self._warned = False
        self._accepted = False
        """Whether the address has accepted a call, so that a view of the shop is there."""

    def __call__(self, claim: Claim) -> Settle | Release:
        """Deliver one claim and return the decision on it. No failure of the network raises an exception."""
        return self._decision(claim, self._sender.send(self._message(claim)))

    def _message(self, claim: Claim) -> Message:
        about = f"{self._name}\0{claim.key}\0{to_milliseconds(claim.due_at)}"
        return Message(f"msg_{hashlib.sha256(about.encode()).hexdigest()[:32]}", self._body.of(claim.key))

    def _decision(self, claim: Claim, outcome: Outcome) -> Settle | Release:
        delay = self._backoff.delay(claim.attempt)
        if isinstance(outcome, NoAnswer):
            return Release(delay, reason=str(outcome))
        self._accepted = self._accepted or outcome.success or outcome.status == HTTPStatus.CONFLICT
        if outcome.success and self._accept is not None:
            refusal = self._accept.refusal(outcome.body, whole=outcome.whole)
            return Release(delay, reason=_described(outcome, refusal)) if refusal else Settle()
        if outcome.success:
            return Settle(self._doubt(outcome))
        if outcome.status in FINAL and (self._accepted or is_document(outcome.body)):
            return Settle(f"{outcome}: {_NO_ORDER}" if outcome.status in NO_SUCH_ORDER else "")
        if outcome.overloaded and outcome.retry_after is not None:
            # Wait as long as the shop asks, plus a random time, so that not all deliveries come at the same moment.
            delay = max(delay, outcome.retry_after + Backoff().delay(1))
        if outcome.redirect:
            return Release(delay, reason=f"{outcome}: redirects are not followed, so use the final address")
        advice = "" if beginning(outcome.body) else _ADVICE.get(outcome.status, "")  # the shop's own words say more
        return Release(delay, reason=_described(outcome, advice))

    def _doubt(self, outcome: Answer) -> str:
        """Return a warning for the first 2xx that looks like a failure or a page; an empty text for all others."""
        is_page = looks_like_page(outcome.body)
        if self._warned or not (is_page or looks_like_failure(outcome.body)):
            return ""
        self._warned = True
        if is_page:
            return f"{outcome}: {_PAGE}"
        return _described(
            outcome,
            "counted as delivered, although its JSON looks like a failure. If it is one, use --accept with the field "
            "and the value of success, like --accept code=0",
        )


def _described(outcome: Answer, what: str = "") -> str:
    """Return the status, what is to be said about it, and the beginning of the answer."""
    said = beginning(outcome.body)
    return ": ".join(part for part in (str(outcome), what, f"it answered {said}" if said else "") if part)
