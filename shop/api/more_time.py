"""More time to pay, for the merchant's programs: extends unpaid orders and revives expired ones, one or many."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from ninja import Path, Router, Schema
from ninja.errors import HttpError
from pydantic import Field, StringConstraints

from lapse.orders import Extended, Revived
from shop.api.buyers import BuyerToken, caller
from shop.api.problems import Problem, problem
from shop.console.permissions import EXTEND_ORDERS
from shop.orders.models import Order
from shop.orders.more_time import MOST_MINUTES, MOST_ORDERS, extend, revive


class ExtenderToken(BuyerToken):
    """Admits staff who may give buyers more time. Other users get a 403."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        """Return the token's user, or None."""
        user = super().authenticate(request, token)
        if user is not None and not (user.is_staff and user.has_perm(EXTEND_ORDERS)):
            raise HttpError(403, "Only a merchant who may extend orders has access.")
        return user


router = Router(tags=["merchant"], auth=ExtenderToken())

PublicId = Annotated[str, StringConstraints(pattern=r"^[0-9a-z]{1,32}$")]
Change = Callable[..., Mapping[str, Extended | Revived]]

REFUSED = {
    "not later": "The order has this much time to pay already.",
    "closing": "The order is being cancelled.",
    "not unpaid": "The order is paid or cancelled.",
    "not reinstated": "The stock is gone, or the order did not expire.",
    "not cancelled": "The order is not cancelled.",
}
"""Why one order was not changed, by the outcome."""


class MoreTimeIn(Schema):
    """The time to pay, from now on by the shop's clock."""

    minutes: int = Field(ge=1, le=MOST_MINUTES)


class ManyIn(MoreTimeIn):
    """The orders that get this much time, by their ids."""

    ids: list[PublicId] = Field(min_length=1, max_length=MOST_ORDERS)


class MoreTimeOut(Schema):
    """An order with its new deadline, UTC."""

    id: str
    outcome: str
    pay_by: datetime


class ManyOut(Schema):
    """What became of each order, by its id: one word, such as `extended`, `not later`, `revived` or `unknown`."""

    outcomes: dict[str, str]


Answer = MoreTimeOut | HttpResponse
RESPONSES = {200: MoreTimeOut, 401: Problem, 403: Problem, 404: Problem, 409: Problem, 422: Problem}
MANY_RESPONSES = {200: ManyOut, 401: Problem, 403: Problem, 422: Problem}


@router.post("/orders/extend", response=MANY_RESPONSES, summary="Extend many orders")
def extend_orders(request: HttpRequest, body: ManyIn) -> ManyOut:
    """Let these unpaid orders be paid until `minutes` from now; more time is kept. Return what became of each."""
    return _many(extend, request, body)


@router.post("/orders/revive", response=MANY_RESPONSES, summary="Revive many orders")
def revive_orders(request: HttpRequest, body: ManyIn) -> ManyOut:
    """Make these expired orders unpaid again, in this sequence, while there is stock. Return what became of each."""
    return _many(revive, request, body)


@router.post("/orders/{order_id}/extend", response=RESPONSES, summary="Extend an order")
def extend_order(request: HttpRequest, order_id: Annotated[PublicId, Path()], body: MoreTimeIn) -> Answer:
    """Let the buyer pay this unpaid order until `minutes` from now, and return the new deadline.

    409: it is paid, cancelled or being cancelled, or it has this much time already. Nothing was changed.
    """
    return _one(extend, request, order_id, body)


@router.post("/orders/{order_id}/revive", response=RESPONSES, summary="Revive an order")
def revive_order(request: HttpRequest, order_id: Annotated[PublicId, Path()], body: MoreTimeIn) -> Answer:
    """Make this expired order unpaid again, with the same lines and prices, and return the new deadline.

    409: the order did not expire, or its stock is gone. Nothing was changed.
    """
    return _one(revive, request, order_id, body)


def _one(change: Change, request: HttpRequest, order_id: str, body: MoreTimeIn) -> Answer:
    order = Order.objects.filter(public_id=order_id).first()
    if order is None:
        return problem(404, "There is no such order.", code="unknown-order")
    outcome = _changed(change, request, [order], body)[order_id]
    if outcome in REFUSED:
        return problem(409, REFUSED[outcome], code=outcome.replace(" ", "-"))
    order.refresh_from_db(fields=["pay_by"])
    return MoreTimeOut(id=order_id, outcome=outcome, pay_by=order.pay_by)


def _many(change: Change, request: HttpRequest, body: ManyIn) -> ManyOut:
    found = {order.public_id: order for order in Order.objects.filter(public_id__in=body.ids)}
    outcomes = _changed(change, request, [found[one] for one in dict.fromkeys(body.ids) if one in found], body)
    return ManyOut(outcomes={one: outcomes.get(one, Extended.UNKNOWN.value) for one in body.ids})


def _changed(change: Change, request: HttpRequest, orders: Iterable[Order], body: MoreTimeIn) -> dict[str, str]:
    outcomes = change(orders, minutes=body.minutes, who=f"merchant {caller(request).pk}")
    return {public_id: outcome.value for public_id, outcome in outcomes.items()}
