"""The work list of money: payments whose money is not where it belongs, and what a merchant does about each of them.

Every change goes through the package's one door for money, in one transaction with the entry of who made it.
"""

from dataclasses import dataclass
from datetime import timedelta

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders import Settled
from shop.buyers.changing import changes
from shop.console.permissions import SETTLE_MONEY, VIEW_PAYMENTS, merchant_of, staff_with
from shop.database import database_now
from shop.orders.events import Actor, ActorKind, What
from shop.orders.models import AuditEntry
from shop.payments.models import WORK_LIST, PaymentAttempt

SHOWN = 100
STUCK_AFTER_TRIES = 6
"""After so many tries, about five minutes, a refund that is not carried out is an alarm."""
STUCK_AFTER = timedelta(minutes=10)
"""A refund about which nothing was stored for so long is an alarm: no gateway answers, or no worker asks."""
DECISION = Q(state=State.REVIEW) | ~Q(alarm="")
"""The payments that wait for a person."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The payments that need a person (decisions), the refunds that are due, and how many of those are stuck."""

    decisions: int
    refunds: int
    stuck: int


@require_safe
@staff_with(VIEW_PAYMENTS)
def work_list(request: HttpRequest) -> HttpResponse:
    """Return the page, with the payments that need a person first, and then the longest waiting first."""
    listed = PaymentAttempt.objects.filter(WORK_LIST).select_related("order")
    context = {
        "decisions": listed.filter(DECISION).order_by("id")[:SHOWN],
        "refunds": listed.filter(~DECISION).order_by("id")[:SHOWN],
        "waiting": waiting(),
        "shown": SHOWN,
        "now": database_now(),
    }
    return render(request, "console/money.html", context)


def waiting() -> Waiting:
    """Return how many payments wait, for whom."""
    due = Q(state=State.REFUND_DUE)
    late = Q(asks__gte=STUCK_AFTER_TRIES) | Q(changed_at__lt=Now() - STUCK_AFTER)
    counted = PaymentAttempt.objects.filter(WORK_LIST).aggregate(
        decisions=Count("pk", filter=DECISION), refunds=Count("pk", filter=due), stuck=Count("pk", filter=due & late)
    )
    return Waiting(**counted)


@changes("console-money")
@staff_with(VIEW_PAYMENTS, SETTLE_MONEY)
def ask_now(request: HttpRequest, reference: str) -> HttpResponse:
    """Let the gateway be asked about a payment of the work list at once, and a due refund tried; return to the page."""
    with transaction.atomic():
        attempt = get_object_or_404(PaymentAttempt.objects.select_related("order"), reference=reference)
        listed = PaymentAttempt.objects.filter(WORK_LIST, pk=attempt.pk).exists()
        if listed:
            # The entry first: it locks the order, and everywhere the order is locked before its attempts.
            _record(request, What.ASKED_AGAIN, attempt, before=attempt.state)
            unpaid_orders().money.attempts.ask_now(reference)
    return _answer(request, gettext("A worker asks the payment service within seconds.") if listed else "")


@changes("console-money")
@staff_with(VIEW_PAYMENTS, SETTLE_MONEY)
def refund(request: HttpRequest, reference: str) -> HttpResponse:
    """Decide that the money of a payment in review goes back to the buyer, and return to the page."""
    with transaction.atomic():
        attempt = get_object_or_404(PaymentAttempt.objects.select_related("order"), reference=reference)
        decided = unpaid_orders().money.decide_refund(reference) == Settled.REFUND_DUE
        if decided:
            attempt.refresh_from_db(fields=["paid", "refunded", "state"])
            _record(request, What.REFUND_DECIDED, attempt, before=State.REVIEW)
    done = gettext("The money goes back to the buyer. A worker refunds it within seconds.")
    return _answer(request, done if decided else "")


@changes("console-money")
@staff_with(VIEW_PAYMENTS, SETTLE_MONEY)
def remove_alarm(request: HttpRequest, reference: str) -> HttpResponse:
    """Remove the alarm with which a merchant has dealt. The audit trail keeps its sentence. Return to the page."""
    with transaction.atomic():
        attempt = get_object_or_404(PaymentAttempt.objects.select_related("order"), reference=reference)
        removed = unpaid_orders().money.remove_alarm(reference) == Settled.NOTED
        if removed:
            _record(request, What.ALARM_REMOVED, attempt, before=attempt.state, detail=attempt.alarm)
    return _answer(request, gettext("The alarm is removed. The history of the order keeps it.") if removed else "")


def _record(request: HttpRequest, what: What, attempt: PaymentAttempt, *, before: str, detail: str = "") -> None:
    """Write what the merchant did about the attempt, which has its new state, into the audit trail of its order."""
    by = Actor(ActorKind.MERCHANT, str(merchant_of(request).pk))
    AuditEntry.record_attempt(attempt.order, what, by, attempt, before=before, detail=detail)


def _answer(request: HttpRequest, done: str) -> HttpResponse:
    """Show what was done, or, if it is empty, that nothing was; return to the work list."""
    if done:
        messages.success(request, done)
    else:
        messages.info(
            request,
            gettext("Nothing was changed: this payment no longer needs it. Another person or a report came first."),
        )
    return redirect("console-money")
