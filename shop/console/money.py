"""The work list of money: payments whose money is not where it belongs. Filtered, searched, page by page."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.db.models import Aggregate, Case, Count, DecimalField, F, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from lapse.integrations.django.attempts import STILL_OPEN, State
from shop.console.permissions import VIEW_PAYMENTS, merchant_of, staff_with
from shop.console.search import id_in
from shop.database import database_now
from shop.orders.models import Status
from shop.payments.gateways import GATEWAYS
from shop.payments.models import WORK_LIST, PaymentAttempt

PAGE = 50
SHORTEST = 3
"""The least number of characters of a search text."""
STUCK_AFTER_TRIES = 6
"""After so many tries, about five minutes, a refund that is not carried out is an alarm."""
STUCK_AFTER = timedelta(minutes=10)
"""A refund about which nothing was stored for so long is an alarm: no gateway answers, or no worker asks."""
DECISION = Q(state=State.REVIEW) | ~Q(alarm="")
"""The payments that wait for a person."""
HOLDS = STILL_OPEN & ~Q(alarm="") & Q(order__status__in=[Status.AWAITING_PAYMENT, Status.CLOSING])
"""The payments whose report cannot be booked, so that their orders neither lapse nor are paid."""
DUE = Q(state=State.REFUND_DUE)
STUCK = DUE & (Q(asks__gte=STUCK_AFTER_TRIES) | Q(changed_at__lt=Now() - STUCK_AFTER))
RANK = Case(When(HOLDS, then=0), When(DECISION, then=1), default=2)
"""The sequence of the list: orders that are held, then decisions, then refunds; the oldest of each first."""
KEPT = Coalesce(F("paid"), Value(Decimal(0)), output_field=DecimalField()) - F("refunded")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The payments that need a person (decisions), the refunds that are due, and how many of those are stuck."""

    decisions: int
    refunds: int
    stuck: int


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice of the work list: its name in a URL, its label, how many payments it has, and their money in yuan."""

    name: str
    label: str | Promise
    count: int
    kept: Decimal


LABELS: dict[str, str | Promise] = {
    "": gettext_lazy("All"),
    "decision": gettext_lazy("Needs a decision"),
    "due": gettext_lazy("Refund due"),
    "stuck": gettext_lazy("Stuck"),
    "alarm": gettext_lazy("Alarm"),
    "held": gettext_lazy("Holds its order"),
    "mine": gettext_lazy("Mine"),
    "unassigned": gettext_lazy("Unassigned"),
}


@require_safe
@staff_with(VIEW_PAYMENTS)
def work_list(request: HttpRequest) -> HttpResponse:
    """Return a page of the list. A search looks at all payments, also at those that are no longer on the list."""
    conditions = _conditions(merchant_of(request))
    chosen = request.GET.get("filter", "")
    chosen = chosen if chosen in conditions else ""
    text = request.GET.get("q", "").replace("\0", "").strip()[:150]
    found: QuerySet[Any] = PaymentAttempt.objects.annotate(rank=RANK).select_related("order", "assignment__staff")
    if text:
        found = found.filter(_matches(text))
    if chosen or not text:
        found = found.filter(WORK_LIST, conditions[chosen])
    page = list(_after(found, request.GET).order_by("rank", "id")[: PAGE + 1])
    last = page[PAGE - 1] if len(page) > PAGE else None
    kept = {"filter": chosen, "q": text, "after": f"{last.rank}-{last.pk}" if last else ""}
    context = {
        "attempts": page[:PAGE],
        "next": urlencode({name: value for name, value in kept.items() if value}) if last else "",
        "is_first": "after" not in request.GET,
        "filters": _filters(conditions),
        "chosen": chosen,
        "text": text,
        "too_short": 0 < len(text) < SHORTEST,
        "now": database_now(),
    }
    return render(request, "console/money.html", context)


def waiting() -> Waiting:
    """Return how many payments wait, for whom."""
    counted = PaymentAttempt.objects.filter(WORK_LIST).aggregate(
        decisions=Count("pk", filter=DECISION), refunds=Count("pk", filter=DUE), stuck=Count("pk", filter=STUCK)
    )
    return Waiting(**counted)


def _conditions(user: User) -> dict[str, Q]:
    return {
        "": Q(),
        "decision": DECISION,
        "due": DUE,
        "stuck": STUCK,
        "alarm": ~Q(alarm=""),
        "held": HOLDS,
        "mine": Q(assignment__staff=user),
        "unassigned": Q(assignment=None),
    }


def _filters(conditions: dict[str, Q]) -> list[Filter]:
    """Return every filter with its number and its sum, from one statement over the list."""
    wanted: dict[str, Aggregate] = {
        f"count_{name}": Count("pk", filter=condition) for name, condition in conditions.items() if name
    }
    wanted |= {f"kept_{name}": Sum(KEPT, filter=condition) for name, condition in conditions.items() if name}
    counted = PaymentAttempt.objects.filter(WORK_LIST).aggregate(count_=Count("pk"), kept_=Sum(KEPT), **wanted)
    return [
        Filter(name, label, counted[f"count_{name}"], counted[f"kept_{name}"] or Decimal(0))
        for name, label in LABELS.items()
    ]


def _matches(text: str) -> Q:
    """Return the condition for a number: the beginning of an order's or a payment's, or all of the provider's."""
    if len(text) < SHORTEST:
        return Q(pk__in=[])
    provider = Q(payment_key__in=[f"{gateway}:{text}" for gateway in GATEWAYS])
    return Q(reference__startswith=text) | Q(order__public_id__startswith=text.lower()) | provider


def _after(found: QuerySet[Any], query: QueryDict) -> QuerySet[Any]:
    """Return what follows the payment at which the page before this one ended. It may have left the list since."""
    rank, _, pk = query.get("after", "").partition("-")
    last = id_in(pk)
    if rank not in ("0", "1", "2") or last is None:
        return found
    return found.filter(Q(rank__gt=int(rank)) | Q(rank=int(rank), pk__gt=last))
