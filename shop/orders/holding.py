"""What a buyer may hold without paying: orders, pieces, pieces of one product; and a pause for orders that lapsed.

Exact only while the buyer's row is locked, because then no other order of the buyer is placed. The database's clock
decides which orders count.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings

from lapse.integrations.django import unpaid_orders
from shop import database
from shop.orders.refusals import Paused, TooManyOfProduct, TooManyOpen, TooManyPieces
from shop.windows import usual_window

ALL = 100
"""The share, in percent, that limits nothing: an order for more than all is sold out."""
SMALL = 5
"""A share of the stock is never fewer pieces than this, so that small stocks can be sold to one buyer."""


class OwnOverdue(Exception):
    """The buyer has overdue orders: lapse these first, because what they hold must not block their own buyer."""


def check_limits(buyer_pk: int, wanted: Mapping[str, int], *, overdue_may_stay: bool) -> datetime:
    """Return the database's time if the buyer may hold so many pieces of each SKU as well. Changes nothing.

    The caller has locked the buyer's row. With `overdue_may_stay`, overdue orders are not counted; otherwise they raise
    OwnOverdue. Raises Paused, TooManyOpen, TooManyPieces or TooManyOfProduct.
    """
    who = {"buyer": buyer_pk, "grace": unpaid_orders().grace}
    ((now, orders, overdue, pieces, lapsed, last),) = database.rows(
        "orders/held", {**who, "within": settings.LAPSE_PAUSE_WITHIN}
    )
    if overdue and not overdue_may_stay:
        raise OwnOverdue
    until = paused_until(lapsed, last)
    if until is not None and until > now:
        raise Paused(until, now=now, lapsed=lapsed)
    if orders >= settings.LAPSE_OPEN_ORDERS:
        raise TooManyOpen(f"You have {orders} unpaid orders. Pay or cancel one of them first.", open=orders)
    more = sum(wanted.values())
    if pieces + more > settings.LAPSE_HELD_PIECES:
        raise TooManyPieces(held=pieces, wanted=more, limit=settings.LAPSE_HELD_PIECES)
    held_of = database.rows("orders/held_of", {**who, "skus": list(wanted)})
    over = [
        {"sku": sku, "wanted": wanted[sku], "held": held, "limit": limit}
        for sku, on_hand, held in held_of
        if held + wanted[sku] > (limit := limit_of_product(on_hand))
    ]
    if over:
        raise TooManyOfProduct(over)
    return now  # type: ignore[no-any-return]  # a column of the statement


def limit_of_product(on_hand: int) -> int:
    """Return how many pieces of a product one buyer may hold, for so many pieces on hand."""
    most: int = settings.LAPSE_HELD_OF_PRODUCT
    if settings.LAPSE_HELD_SHARE < ALL:
        most = min(most, max(SMALL, on_hand * settings.LAPSE_HELD_SHARE // ALL))
    return most


def paused_until(lapsed: int, last: datetime | None) -> datetime | None:
    """Return when a buyer may order again whose `lapsed` orders lapsed, the last one then; None: now.

    The first pause is as long as the usual window to pay. Each further lapsed order doubles it.
    """
    beyond = lapsed - settings.LAPSE_PAUSE_AFTER
    if not settings.LAPSE_PAUSE_AFTER or beyond < 0 or last is None:
        return None
    pause: timedelta = min(usual_window() * 2 ** min(beyond, 20), settings.LAPSE_PAUSE_MOST)
    return last + pause
