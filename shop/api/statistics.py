"""The merchant's figures."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from django.http import HttpRequest
from ninja import Query, Router, Schema

from shop.api.bearer import MerchantToken
from shop.api.problems import Problem
from shop.orders.clock import database_now
from shop.statistics.models import Event
from shop.statistics.today import Day, Figure, newest_days

router = Router(tags=["merchant"])


class FigureOut(Schema):
    """How many orders, worth how much."""

    count: int
    amount: Decimal


class CancelledOut(Schema):
    """Cancelled orders by their reason."""

    expired: FigureOut
    buyer: FigureOut
    merchant: FigureOut


class DayOut(Schema):
    """One day, UTC. Placed orders count on the day of placing, paid and cancelled ones on the day of that."""

    day: date
    placed: FigureOut
    paid: FigureOut
    cancelled: CancelledOut


@router.get(
    "/statistics", auth=MerchantToken(), response={200: list[DayOut], 401: Problem, 403: Problem}, summary="The figures"
)
def statistics(request: HttpRequest, days: Annotated[int, Query(ge=1, le=366)] = 30) -> list[DayOut]:
    """List the newest days, today first; today is there even if nothing has happened yet."""
    del request
    return [_day_out(day) for day in newest_days(days, database_now().date())]


def _day_out(day: Day) -> DayOut:
    def figure(event: Event) -> FigureOut:
        found: Figure = day.events[event.value]
        return FigureOut(count=found.count, amount=found.amount)

    return DayOut(
        day=day.day,
        placed=figure(Event.PLACED),
        paid=figure(Event.PAID),
        cancelled=CancelledOut(
            expired=figure(Event.EXPIRED), buyer=figure(Event.BUYER), merchant=figure(Event.MERCHANT)
        ),
    )
