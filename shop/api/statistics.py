"""The merchant's statistics."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from django.http import HttpRequest
from ninja import Query, Router, Schema

from shop.api.buyers import MerchantToken
from shop.api.problems import Problem
from shop.database import database_now
from shop.statistics.days import Day, newest_days
from shop.statistics.models import Event

router = Router(tags=["merchant"])


class SumOut(Schema):
    """The number of orders and their total amount, in yuan."""

    count: int
    amount: Decimal


class CancelledOut(Schema):
    """Cancelled orders by their reason."""

    expired: SumOut
    buyer: SumOut
    merchant: SumOut


class DayOut(Schema):
    """One day, UTC. An order counts as placed, paid or cancelled on the day when that happened.

    A past day never changes. A cancelled order may be reinstated, by late money or by a merchant: it stays in
    `cancelled`, and counts as `reinstated` on the day of that. An order counts as `paid` on the day of its payment.
    `refunded` is the money of paid orders that went back to buyers on this day; its `count` is the number of refunds,
    because an order may be refunded in parts.
    """

    day: date
    placed: SumOut
    paid: SumOut
    cancelled: CancelledOut
    reinstated: SumOut
    refunded: SumOut


@router.get(
    "/statistics",
    auth=MerchantToken(),
    response={200: list[DayOut], 401: Problem, 403: Problem},
    summary="The statistics",
)
def statistics(request: HttpRequest, days: Annotated[int, Query(ge=1, le=366)] = 30) -> list[DayOut]:
    """Return the newest days, today first. Today is included even if nothing has happened yet."""
    del request
    return [_day_out(day) for day in newest_days(days, database_now().date())]


def _day_out(day: Day) -> DayOut:
    def sum_of(event: Event) -> SumOut:
        found = day.events[event.value]
        return SumOut(count=found.count, amount=found.amount)

    return DayOut(
        day=day.day,
        placed=sum_of(Event.PLACED),
        paid=sum_of(Event.PAID),
        cancelled=CancelledOut(
            expired=sum_of(Event.EXPIRED), buyer=sum_of(Event.BUYER), merchant=sum_of(Event.MERCHANT)
        ),
        reinstated=sum_of(Event.REINSTATED),
        refunded=sum_of(Event.REFUNDED),
    )
