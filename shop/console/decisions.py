"""What a merchant does about a payment of the work list.

Each action is one transaction: the order is locked first, the package's one door for money changes the payment, and the
audit trail keeps who decided. A repeated action changes nothing. Of two at once, the second learns what came first.
"""

from collections.abc import Callable
from typing import NamedTuple

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders import AttemptState, Settled
from shop.buyers.changing import changes, is_form_key
from shop.console.models import Assignment, Note
from shop.console.payment import people_who_settle
from shop.console.permissions import SETTLE_MONEY, VIEW_PAYMENTS, merchant_of, staff_with
from shop.orders.alarms import fingerprint
from shop.orders.events import Actor, ActorKind, What
from shop.orders.history import for_merchant
from shop.orders.models import AuditEntry, Order
from shop.payments.gateways import GATEWAYS
from shop.payments.models import WORK_LIST, PaymentAttempt

LONGEST_NOTE = 1000


class Entry(NamedTuple):
    """What a decision writes into the audit trail."""

    what: What
    reason: str = ""
    detail: str = ""


Decide = Callable[[PaymentAttempt], Entry | None]
"""Changes the payment, whose order is locked, and returns what the audit trail gets; None: nothing was changed."""


@changes("console-payment")
@staff_with(VIEW_PAYMENTS, SETTLE_MONEY)
def ask_now(request: HttpRequest, reference: str) -> HttpResponse:
    """Let the gateway be asked about a payment of the work list at once, and a due refund tried; return to the page."""

    def ask(attempt: PaymentAttempt) -> Entry | None:
        if not PaymentAttempt.objects.filter(WORK_LIST, pk=attempt.pk).exists():
            return None
        unpaid_orders().money.attempts.ask_now(reference)
        return Entry(What.ASKED_AGAIN)

    return _act(request, reference, ask, gettext("A worker asks the payment service within seconds."))


@changes("console-payment")
@staff_with(VIEW_PAYMENTS, SETTLE_MONEY)
def refund(request: HttpRequest, reference: str) -> HttpResponse:
    """Decide that the money of a payment in review goes back to the buyer, and return to the page."""

    def decide(_attempt: PaymentAttempt) -> Entry | None:
        settled = unpaid_orders().money.decide_refund(reference)
        return Entry(What.REFUND_DECIDED) if settled is Settled.REFUND_DUE else None

    done = gettext("The money goes back to the buyer. A worker refunds it within seconds.")
    return _act(request, reference, decide, done)


@changes("console-payment")
@staff_with(VIEW_PAYMENTS, SETTLE_MONEY)
def reinstate(request: HttpRequest, reference: str) -> HttpResponse:
    """Let the money pay its cancelled order, if the stock is there, and return to the page.

    The gateway is asked first, in no transaction: another person may have refunded the payment at the provider.
    """
    found = get_object_or_404(PaymentAttempt, reference=reference)
    if found.gateway in GATEWAYS:
        unpaid_orders().ask(reference)
    no_stock = False

    def decide(_attempt: PaymentAttempt) -> Entry | None:
        nonlocal no_stock
        settled = unpaid_orders().money.decide_reinstate(reference, seen=_seen(request))
        no_stock = settled is Settled.NO_STOCK
        return Entry(What.REINSTATE_DECIDED) if settled in (Settled.REINSTATED, Settled.PAID) else None

    done = gettext("The order is reinstated, and the money has paid it.")
    return _act(
        request,
        reference,
        decide,
        done,
        lambda: (
            gettext("Nothing was changed: not everything in the order is available, or a person has cancelled it.")
            if no_stock
            else ""
        ),
    )


@changes("console-payment")
@staff_with(VIEW_PAYMENTS, SETTLE_MONEY)
def write_off(request: HttpRequest, reference: str) -> HttpResponse:
    """Keep the money for the reason that the form states, and return to the page. The buyer reads the reason."""
    reason = " ".join(request.POST.get("reason", "").split())

    def decide(_attempt: PaymentAttempt) -> Entry | None:
        settled = unpaid_orders().money.write_off(reference, reason=reason, seen=_seen(request))
        return Entry(What.WRITTEN_OFF, reason=reason) if settled is Settled.WRITTEN_OFF else None

    try:
        return _act(request, reference, decide, gettext("The payment is written off. The buyer sees the reason."))
    except ValueError:  # the reason
        messages.error(request, gettext("Nothing was changed: state a reason, of at most 500 characters."))
        return _back(request, reference)


@changes("console-payment")
@staff_with(VIEW_PAYMENTS, SETTLE_MONEY)
def remove_alarm(request: HttpRequest, reference: str) -> HttpResponse:
    """Remove the alarm with which a merchant has dealt. The audit trail keeps its sentence. Return to the page.

    Another alarm than the one that the merchant saw stays.
    """

    def decide(attempt: PaymentAttempt) -> Entry | None:
        if request.POST.get("seen", "") not in ("", fingerprint(attempt.alarm)):
            return None
        settled = unpaid_orders().money.remove_alarm(reference)
        return Entry(What.ALARM_REMOVED, detail=attempt.alarm) if settled is Settled.NOTED else None

    return _act(request, reference, decide, gettext("The alarm is removed. The history of the order keeps it."))


@changes("console-payment")
@staff_with(VIEW_PAYMENTS, SETTLE_MONEY)
def assign(request: HttpRequest, reference: str) -> HttpResponse:
    """Assign the payment to a member of staff, or to none, and return to the page.

    The form says to whom the payment was assigned when its page was made: another assignment since then stays.
    """
    to, seen = request.POST.get("to", ""), request.POST.get("assigned", "")
    people = {str(person.pk): person for person in people_who_settle()}
    if to not in {"", *people}:
        messages.error(request, gettext("Nothing was changed: this person may not decide about payments."))
        return _back(request, reference)

    def decide(attempt: PaymentAttempt) -> Entry | None:
        before = Assignment.objects.filter(attempt=attempt).first()
        if seen != (str(before.staff_id) if before else "") or to == seen:
            return None
        Assignment.objects.filter(attempt=attempt).delete()
        if not to:
            return Entry(What.ASSIGNED, reason="no_person")
        Assignment.objects.create(attempt=attempt, staff=people[to])
        return Entry(What.ASSIGNED, reason=people[to].username)

    return _act(request, reference, decide, gettext("The assignment is changed."))


@changes("console-payment")
@staff_with(VIEW_PAYMENTS, SETTLE_MONEY)
def write_note(request: HttpRequest, reference: str) -> HttpResponse:
    """Add a note to the payment and return to the page. The same form sent twice writes one note."""
    text, key = request.POST.get("text", "").strip(), request.POST.get("key", "")
    if not 0 < len(text) <= LONGEST_NOTE or "\0" in text or not is_form_key(key):
        messages.error(request, gettext("Nothing was written: a note has 1 to 1000 characters."))
        return _back(request, reference)

    def decide(attempt: PaymentAttempt) -> Entry | None:
        _, is_new = Note.objects.get_or_create(
            key=key, defaults={"attempt": attempt, "text": text, "who": merchant_of(request)}
        )
        return Entry(What.NOTE) if is_new else None

    return _act(request, reference, decide, gettext("The note is written."))


def _act(
    request: HttpRequest, reference: str, decide: Decide, done: str, why_not: Callable[[], str] = str
) -> HttpResponse:
    """Carry the decision out in one transaction, with the order locked first, and return to the page with the result.

    `why_not` returns why nothing was changed, or "" if another person or a report came first.
    """
    with transaction.atomic():
        attempt = get_object_or_404(PaymentAttempt, reference=reference)
        order = Order.objects.select_for_update().get(pk=attempt.order_id)
        attempt.refresh_from_db()
        seen, entry = attempt.state, decide(attempt)
        if entry:
            attempt.refresh_from_db()
            by = Actor(ActorKind.MERCHANT, str(merchant_of(request).pk))
            AuditEntry.record_attempt(
                order, entry.what, by, attempt, before=seen, reason=entry.reason, detail=entry.detail
            )
    if entry:
        messages.success(request, done)
    elif reason := why_not():
        messages.warning(request, reason)
    else:
        nothing = gettext("Nothing was changed: another person or a report came first.")
        messages.info(request, f"{nothing} {_first(order)}")
    return _back(request, reference)


def _first(order: Order) -> str:
    """Return what came first, as the history of the order says."""
    last = for_merchant(order)[-1]
    what = ", ".join((last.text, *last.facts))
    return gettext("The last entry: %(what)s, %(who)s, %(at)s UTC.") % {
        "what": what,
        "who": last.actor,
        "at": f"{last.at:%H:%M:%S}",
    }


def _seen(request: HttpRequest) -> AttemptState | None:
    """Return the state that the form's page showed, or None if the form does not say it."""
    seen = request.POST.get("seen", "")
    return AttemptState(seen) if seen in State.values else None


def _back(request: HttpRequest, reference: str) -> HttpResponse:
    """Return to the page that had the form: the list, or the page of the payment."""
    return redirect("console-payment", reference) if request.POST.get("back") != "list" else redirect("console-money")
