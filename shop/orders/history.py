"""The audit trail as sentences in the viewer's language, for the merchant and for the buyer.

Nothing here is stored: the rows have codes, and each page makes its sentences from these templates.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop, ngettext

from lapse.observability import visible
from shop.orders.alarms import alarm
from shop.orders.events import ActorKind, Subject, What
from shop.orders.models import AuditEntry, Hold, Order, Reason

HOLD_CHANGES = {
    What.PLACED: ("", Hold.HELD),
    What.PAID: (Hold.HELD, Hold.CONSUMED),
    What.CANCELLED: (Hold.HELD, Hold.RELEASED),
    What.REINSTATED: (Hold.RELEASED, Hold.HELD),
    What.REVIVED: (Hold.RELEASED, Hold.HELD),
}
"""How all reservations of an order change with the order, which is why no entry per reservation is stored.

An order's lines never change, and their reservations move together with the order. The audit proves this (`holds`).
"""

STATES = {
    "awaiting_payment": gettext_lazy("awaiting payment"),
    "closing": gettext_lazy("closing"),
    "paid": gettext_lazy("paid"),
    "cancelled": gettext_lazy("cancelled"),
    "held": gettext_lazy("held"),
    "consumed": gettext_lazy("sold"),
    "released": gettext_lazy("released"),
    "created": gettext_lazy("created"),
    "pending": gettext_lazy("open"),
    "succeeded": gettext_lazy("succeeded"),
    "closed": gettext_lazy("closed"),
    "failed": gettext_lazy("failed"),
    "unknown": gettext_lazy("no answer"),
    "orphaned": gettext_lazy("refund due"),
    "refunded": gettext_lazy("refunded"),
    "review": gettext_lazy("needs a decision"),
    "kept": gettext_lazy("written off"),
}
"""The states of orders, reservations and attempts."""

EVENTS = {
    What.PLACED: gettext_lazy("placed"),
    What.CLOSING: gettext_lazy("closing"),
    What.REOPENED: gettext_lazy("can be paid again"),
    What.CANCELLED: gettext_lazy("cancelled"),
    What.PAID: gettext_lazy("paid"),
    What.REINSTATED: gettext_lazy("reinstated"),
    What.EXTENDED: gettext_lazy("extended"),
    What.REVIVED: gettext_lazy("revived"),
    What.REMINDED: gettext_lazy("reminded"),
    What.OPENED: gettext_lazy("payment started"),
    What.ATTEMPT: gettext_lazy("payment"),
    What.REFUNDED: gettext_lazy("refunded"),
    What.ALARM: gettext_lazy("needs a person"),
    What.ALARM_REMOVED: gettext_lazy("alarm removed"),
    What.ASKED_AGAIN: gettext_lazy("payment service asked again"),
    What.REFUND_DECIDED: gettext_lazy("refund decided"),
    What.REINSTATE_DECIDED: gettext_lazy("reinstatement decided"),
    What.NOTE: gettext_lazy("note written"),
    What.ASSIGNED: gettext_lazy("assigned"),
    What.WRITTEN_OFF: gettext_lazy("written off"),
}
"""What has happened, as the console calls it."""

REASONS = {
    Reason.EXPIRED.value: gettext_lazy("not paid in time"),
    Reason.BUYER.value: gettext_lazy("by the buyer"),
    Reason.MERCHANT.value: gettext_lazy("by the merchant"),
    "late_money": gettext_lazy("the money came late"),
    "nothing_to_pay": gettext_lazy("nothing to pay"),
    "no_person": gettext_lazy("no person"),
    "more_time": gettext_lazy("there is more time to pay"),
}
"""The codes of reasons. Another reason is the text of a person, and is shown as it was written."""

CANCELLED = {
    Reason.EXPIRED.value: gettext_noop("Not paid in time: cancelled, and the stock is released"),
    Reason.BUYER.value: gettext_noop("You cancelled the order, and the stock is released"),
    Reason.MERCHANT.value: gettext_noop("The shop cancelled the order, and the stock is released"),
}
OTHERWISE = gettext_noop("The order was cancelled, and the stock is released")
TO_BUYER = {
    What.PLACED: gettext_noop("You placed the order, and its products are held for you"),
    What.CLOSING: gettext_noop("The order is being closed"),
    What.REOPENED: gettext_noop("There is more time to pay"),
    What.PAID: gettext_noop("The order is paid"),
    What.REINSTATED: gettext_noop("The order was reinstated, and its products are held for you"),
    What.EXTENDED: gettext_noop("You have more time to pay"),
    What.REVIVED: gettext_noop("The shop has restored the order, and its products are held for you"),
    What.REMINDED: gettext_noop("We have reminded you to pay"),
    What.OPENED: gettext_noop("You began to pay %(amount)s"),
    What.REFUNDED: gettext_noop("%(refunded)s was refunded to you"),
    What.REFUND_DECIDED: gettext_noop("The shop decided to refund %(amount)s to you"),
}
"""What the buyer reads. Other events, such as alarms, are the shop's own business."""


ACTORS_TO_BUYER = {
    ActorKind.BUYER: gettext_lazy("you"),
    ActorKind.TIMER: gettext_lazy("automatically"),
    ActorKind.READER: gettext_lazy("automatically"),
    ActorKind.MERCHANT: gettext_lazy("the shop"),
}
"""What the buyer reads of who did it, where it is not the kind's own label."""


class Line(NamedTuple):
    """One line of a history. `event` is for programs, and `detail` an alarm or text in its writer's language."""

    at: datetime
    event: str
    text: str
    actor: str
    facts: tuple[str, ...] = ()
    attempt: str = ""
    detail: str = ""


def for_merchant(order: Order) -> list[Line]:
    """Return every entry, with the change of the reservations that each change of the order has caused."""
    pieces = sum(line.quantity for line in order.lines.all())
    return [
        Line(
            at=entry.at,
            event=entry.what,
            text=str(EVENTS[What(entry.what)]),
            actor=f"{ActorKind(entry.actor).label} {visible(entry.actor_id)}".rstrip(),
            facts=tuple(fact for fact in _facts(entry, pieces) if fact),
            attempt=entry.subject_id if entry.subject == Subject.ATTEMPT else "",
            detail=alarm(entry.detail),
        )
        for entry in order.audit_trail.all()
    ]


def for_buyer(order: Order) -> list[Line]:
    """Return the entries that concern the buyer, without what only the shop must know."""
    entries = order.audit_trail.filter(what__in=[*TO_BUYER, What.CANCELLED])
    actors = ((entry, ActorKind(entry.actor)) for entry in entries)
    return [
        Line(entry.at, entry.what, _to_buyer(entry), str(ACTORS_TO_BUYER.get(actor, actor.label)))
        for entry, actor in actors
    ]


def _facts(entry: AuditEntry, pieces: int) -> Iterator[str]:
    """Yield what a merchant needs to know beside the event; some of it may be empty."""
    yield str(REASONS.get(entry.reason, visible(entry.reason)))
    if entry.before != entry.after and entry.after:
        yield _change(entry.before, entry.after)
    hold = HOLD_CHANGES.get(What(entry.what)) if entry.subject == Subject.ORDER else None
    if hold:
        yield ngettext("%(count)d piece: %(change)s", "%(count)d pieces: %(change)s", pieces) % {
            "count": pieces,
            "change": _change(*hold),
        }
    if entry.amount is not None:
        yield _yuan(entry.amount)
    if entry.refunded is not None:
        yield _("refunded: %s") % _yuan(entry.refunded)


def _to_buyer(entry: AuditEntry) -> str:
    template = CANCELLED.get(entry.reason) if entry.what == What.CANCELLED else TO_BUYER[What(entry.what)]
    return _(template or OTHERWISE) % {"amount": _yuan(entry.amount), "refunded": _yuan(entry.refunded)}


def _change(before: str, after: str) -> str:
    return " → ".join(str(STATES.get(state, state)) for state in (before, after) if state)


def _yuan(amount: Decimal | None) -> str:
    return "–" if amount is None else f"¥{amount:,.2f}"
