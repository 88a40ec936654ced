"""Placing an order: prices are compared, stock is held, and its timer is armed with the commit of one transaction."""

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils.translation import get_language

from lapse.integrations.django import unpaid_orders
from lapse.orders import Outcome
from shop.orders import stock
from shop.orders.events import Actor, ActorKind, What
from shop.orders.holding import OwnOverdue, check_limits
from shop.orders.models import AuditEntry, Line, Order, Reservation, Status
from shop.orders.refusals import BadOrder, KeyReused, PriceChanged, SoldOut
from shop.orders.transitions import pay
from shop.statistics.days import count
from shop.statistics.models import Event
from shop.windows import least_window, seconds, usual_window

MOST_LINES = 50
MOST_PIECES = 999
"""The greatest quantity of one product in one order."""
SKU = re.compile(r"[!-~]{1,40}")
"""The form of a SKU: printable ASCII without spaces."""
TRIES = 20
PAUSE = 0.05
"""Seconds to wait for another process that is lapsing the holds that a buyer needs, at most TRIES times."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One line as the buyer wants it. `unit_price` is the price that the buyer saw."""

    sku: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Placed:
    """The order, and whether this call created it: False if an earlier call with its idempotency key did."""

    order: Order
    new: bool


def place(
    buyer: User, wanted: Sequence[Wanted], *, idempotency_key: str | None = None, window: timedelta | None = None
) -> Placed:
    """Place an order for all lines, or for none, and return it. `window` is its time to pay, unless it is the usual.

    If stock is missing, overdue holds on these products are lapsed first, so that a worker that is behind costs no
    sale. Not to be called in a transaction. Raises a Refused.
    """
    _check(wanted)
    _window(window)
    skus = [line.sku for line in wanted]
    overdue_holds = own_overdue = True
    for _ in range(TRIES):
        try:
            return _place(buyer, wanted, idempotency_key, window, overdue_may_stay=not own_overdue)
        except OwnOverdue:
            own_overdue = _lapse_overdue(Q(buyer=buyer))
        except SoldOut:
            # The product is sold out only if the previous attempt found no overdue hold.
            if not overdue_holds:
                raise
            overdue_holds = _lapse_holds_on(skus)
    return _place(buyer, wanted, idempotency_key, window, overdue_may_stay=True)


def _lapse_holds_on(skus: Sequence[str]) -> bool:
    """Lapse overdue orders that hold these SKUs, and return True if another attempt to place may succeed."""
    return _lapse_overdue(Q(pk__in=Line.objects.filter(product__sku__in=skus).values("order_id")))


def _lapse_overdue(which: Q) -> bool:
    """Lapse these overdue orders, and return True if that may have changed what another attempt to place finds.

    It has not if no order was overdue, or if all of them wait for a gateway that has just not answered.
    """
    results = unpaid_orders().lapse_overdue(which)
    outcomes = {result.outcome for result in results.values()} - {Outcome.UNANSWERED}
    if outcomes == {Outcome.LOCKED}:
        time.sleep(PAUSE)
    return bool(outcomes)


def _check(wanted: Sequence[Wanted]) -> None:
    if not 1 <= len(wanted) <= MOST_LINES:
        raise BadOrder(f"An order has 1 to {MOST_LINES} lines.")
    skus = [line.sku for line in wanted]
    twice = sorted({sku for sku in skus if skus.count(sku) > 1})
    if twice:
        raise BadOrder(f"Each SKU may be in one line only: {', '.join(twice)}.", skus=twice)
    for line in wanted:
        if not SKU.fullmatch(line.sku):
            raise BadOrder("There is no such product.")
        if not 1 <= line.quantity <= MOST_PIECES:
            raise BadOrder(f"The quantity of {line.sku} must be from 1 to {MOST_PIECES}.", skus=[line.sku])


def _window(asked: timedelta | None) -> timedelta:
    """Return the window of a new order: the usual one, or what the request asks for. Raises BadOrder for nonsense."""
    if asked is None:
        return usual_window()
    least = max(timedelta(seconds=1), least_window(settings.SHOP_GATEWAY, settings.LEAST_TIME_TO_PAY))
    longest = settings.LAPSE_LONGEST_WINDOW or usual_window()
    if not least <= asked <= longest:
        raise BadOrder(
            f"The time to pay must be from {seconds(least)} to {seconds(longest)} seconds.",
            least=least.total_seconds(),
            longest=longest.total_seconds(),
        )
    return asked


def _fingerprint(wanted: Sequence[Wanted], window: timedelta | None) -> str:
    lines = sorted(f"{line.sku}\n{line.quantity}\n{line.unit_price:.2f}" for line in wanted)
    if window is not None:
        lines.append(f"{window.total_seconds()}")
    return hashlib.sha256("\n\n".join(lines).encode()).hexdigest()


@transaction.atomic(durable=True)
def _place(
    buyer: User, wanted: Sequence[Wanted], key: str | None, window: timedelta | None, *, overdue_may_stay: bool
) -> Placed:
    # One placement per buyer at a time, so that the idempotency key and the limits on what a buyer holds are exact.
    User.objects.select_for_update(no_key=True).get(pk=buyer.pk)
    if key is not None:
        before = Order.objects.filter(buyer=buyer, idempotency_key=key).first()
        if before is not None:
            if before.fingerprint != _fingerprint(wanted, window):
                raise KeyReused(
                    "This Idempotency-Key was used for an order with other lines or another time to pay.",
                    order=before.public_id,
                )
            return Placed(before, new=False)
    at = check_limits(buyer.pk, {line.sku: line.quantity for line in wanted}, overdue_may_stay=overdue_may_stay)
    order = Order.objects.create(
        buyer=buyer,
        status=Status.AWAITING_PAYMENT,
        total=sum((line.quantity * line.unit_price for line in wanted), Decimal()),
        placed_at=at,
        pay_by=at + _window(window),
        idempotency_key=key,
        fingerprint=_fingerprint(wanted, window),
        language=get_language() or "",
    )
    products = _reserve(wanted)
    lines = Line.objects.bulk_create(
        Line(order=order, product_id=products[line.sku], quantity=line.quantity, unit_price=line.unit_price)
        for line in wanted
    )
    Reservation.objects.bulk_create(Reservation(line=line) for line in lines)
    AuditEntry.record([order], What.PLACED, Actor(ActorKind.BUYER, str(buyer.pk)))
    if order.total == 0:
        pay(order, who=Actor(ActorKind.SYSTEM), reason="nothing_to_pay")
    else:
        unpaid_orders().arm(order)
    count([(at, Event.PLACED, order.total)])
    return Placed(order, new=True)


def _reserve(wanted: Sequence[Wanted]) -> dict[str, int]:
    """Hold the stock, compare the prices on the locked rows, and return each SKU's product id."""
    found = stock.reserve({line.sku: line.quantity for line in wanted})
    unknown = [line.sku for line in wanted if line.sku not in found]
    if unknown:
        raise BadOrder(f"There is no product {', '.join(unknown)}.", skus=unknown)
    changes = [
        {"sku": line.sku, "seen": f"{line.unit_price:.2f}", "now": f"{found[line.sku].price:.2f}"}
        for line in wanted
        if line.unit_price != found[line.sku].price
    ]
    if changes:
        raise PriceChanged(changes)
    short = [
        {"sku": line.sku, "wanted": line.quantity, "available": found[line.sku].available}
        for line in wanted
        if not found[line.sku].held
    ]
    if short:
        raise SoldOut(short)
    return {sku: reserved.product_id for sku, reserved in found.items()}
