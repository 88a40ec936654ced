"""More time by hand: a merchant extends or revives one order, those that are ticked, or all that a search found."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy, ngettext

from lapse.orders import Extended, Revived
from shop.buyers.changing import changes
from shop.console.permissions import EXTEND_ORDERS, VIEW_ORDERS, merchant_of, staff_with
from shop.console.search import Search, id_in, matching
from shop.orders.models import Order
from shop.orders.more_time import EXTENDABLE, MOST_MINUTES, MOST_ORDERS, REVIVABLE, extend, revive

Outcome = Extended | Revived

SAID: Mapping[Outcome, object] = {
    Extended.NOT_LATER: gettext_lazy("enough time already"),
    Extended.CLOSING: gettext_lazy("being cancelled"),
    Extended.NOT_UNPAID: gettext_lazy("paid or cancelled"),
    Extended.UNKNOWN: gettext_lazy("unknown order"),
    Revived.NOT_REINSTATED: gettext_lazy("sold out"),
    Revived.NOT_CANCELLED: gettext_lazy("not cancelled"),
    Revived.UNKNOWN: gettext_lazy("unknown order"),
}
DONE = (Extended.EXTENDED, Revived.REVIVED)


@dataclass(frozen=True, slots=True)
class Action:
    """What a merchant can do, and for which orders it is of use."""

    name: str
    change: Callable[..., Mapping[str, Outcome]]
    orders: Q


ACTIONS = {
    "extend": Action("extend", extend, EXTENDABLE),
    "revive": Action("revive", revive, REVIVABLE),
}


@changes("console-order")
@staff_with(VIEW_ORDERS, EXTEND_ORDERS)
def extend_order(request: HttpRequest, public_id: str) -> HttpResponse:
    """Extend one unpaid order, and return to its page with what happened."""
    return _change_one(request, public_id, ACTIONS["extend"])


@changes("console-order")
@staff_with(VIEW_ORDERS, EXTEND_ORDERS)
def revive_order(request: HttpRequest, public_id: str) -> HttpResponse:
    """Make one expired order unpaid again, and return to its page with what happened."""
    return _change_one(request, public_id, ACTIONS["revive"])


@changes("console-orders")
@staff_with(VIEW_ORDERS, EXTEND_ORDERS)
def many(request: HttpRequest) -> HttpResponse:
    """Return a page that says how many orders are meant; if that is confirmed, change them and return to the search."""
    back = f"{reverse('console-orders')}?{Search.read(request.POST).address}"
    action, minutes = ACTIONS.get(request.POST.get("action", "")), _minutes(request)
    if action is None or minutes is None:
        messages.error(request, _wrong_minutes())
        return redirect(back)
    newest = _newest(request)
    orders = _meant(request).filter(action.orders, pk__lte=newest).order_by("pk")
    found = list(orders[: MOST_ORDERS + 1])
    if not found:
        messages.info(request, gettext("None of these orders can be changed in this way. Nothing was changed."))
        return redirect(back)
    if "confirmed" not in request.POST or len(found) > MOST_ORDERS:
        context = {
            "action": action.name,
            "minutes": minutes,
            "count": len(found),
            "most": MOST_ORDERS,
            "too_many": len(found) > MOST_ORDERS,
            "newest": newest,
            "ticked": [] if _all_found(request) else [order.public_id for order in found],
            "search": Search.read(request.POST),
            "back": back,
        }
        return render(request, "console/more_time.html", context)
    outcomes = action.change(found, minutes=minutes, who=_who(request))
    _say(request, Counter(outcomes.values()))
    return redirect(back)


def _change_one(request: HttpRequest, public_id: str, action: Action) -> HttpResponse:
    order = get_object_or_404(Order, public_id=public_id)
    minutes = _minutes(request)
    if minutes is None:
        messages.error(request, _wrong_minutes())
        return redirect("console-order", public_id)
    match action.change([order], minutes=minutes, who=_who(request))[public_id]:
        case Extended.EXTENDED:
            messages.success(request, gettext("The buyer has more time. The countdown on the buyer's page has moved."))
        case Revived.REVIVED:
            messages.success(request, gettext("The order is unpaid again, and its stock is held."))
        case Extended.NOT_LATER:
            messages.info(request, gettext("The order has this much time already. Nothing was changed."))
        case Extended.CLOSING:
            messages.error(request, gettext("The order is being cancelled. Nothing was changed."))
        case Revived.NOT_REINSTATED:
            text = gettext("The order cannot be revived: its stock is gone, or it did not expire. Nothing was changed.")
            messages.error(request, text)
        case _:
            messages.error(request, gettext("The order has changed meanwhile. Nothing was changed."))
    return redirect("console-order", public_id)


def _say(request: HttpRequest, counts: Counter[Outcome]) -> None:
    """Show how many orders were changed, and why others were not."""
    done = sum(counts[outcome] for outcome in DONE)
    text = ngettext("%(count)d order was changed.", "%(count)d orders were changed.", done) % {"count": done}
    others = [f"{SAID[outcome]} ({number})" for outcome, number in counts.items() if outcome not in DONE]
    if others:
        text += " " + gettext("Not changed: %s.") % ", ".join(others)
    (messages.success if done else messages.info)(request, text)


def _meant(request: HttpRequest) -> QuerySet[Order]:
    """Return the orders that are ticked, or all that the search finds."""
    if _all_found(request):
        return matching(Search.read(request.POST))
    ticked = [one for one in request.POST.getlist("order") if one.isalnum()][:MOST_ORDERS]
    return Order.objects.filter(public_id__in=ticked)


def _all_found(request: HttpRequest) -> bool:
    return request.POST.get("scope") == "found"


def _newest(request: HttpRequest) -> int:
    """Return the id of the newest order that was counted: an order that is placed after that is not meant."""
    newest = id_in(request.POST.get("newest", ""))
    if newest is not None:
        return newest
    return Order.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def _minutes(request: HttpRequest) -> int | None:
    text = request.POST.get("minutes", "").strip()
    minutes = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0  # noqa: PLR2004  # far too many
    return minutes if 1 <= minutes <= MOST_MINUTES else None


def _wrong_minutes() -> str:
    return gettext("Enter the minutes from now on as a whole number from 1 to %d. Nothing was changed.") % MOST_MINUTES


def _who(request: HttpRequest) -> str:
    return f"merchant {merchant_of(request).pk}"
