"""Placing, reading, paying and cancelling orders, and what an order looks like in JSON."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Header, Query, Router, Schema, Status
from pydantic import Field, StringConstraints

from shop.api.buyers import BuyerToken, caller
from shop.api.problems import Problem, problem
from shop.limits import count_order
from shop.orders.events import Actor, ActorKind
from shop.orders.models import Reason
from shop.orders.models import Status as OrderStatus
from shop.orders.placing import MOST_LINES, MOST_PIECES, Wanted, place
from shop.orders.reading import Reading, fresh, own, read, read_all
from shop.orders.transitions import cancel
from shop.payments.links import payment_link
from shop.windows import LONGEST

LONGEST_SECONDS = round(LONGEST.total_seconds())

router = Router(tags=["orders"], auth=BuyerToken())

IdempotencyKey = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x20-\x7e]+$")]
Sku = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[\x21-\x7e]+$")]


class LineIn(Schema):
    """A quantity of one product. `unit_price` is the price that you saw."""

    sku: Sku
    quantity: int = Field(ge=1, le=MOST_PIECES)
    unit_price: Decimal = Field(ge=0, max_digits=10, decimal_places=2)


class OrderIn(Schema):
    """What to order, with each SKU in one line. `pay_within` is in seconds; unless set, it is the usual time to pay."""

    lines: list[LineIn] = Field(min_length=1, max_length=MOST_LINES)
    pay_within: int | None = Field(default=None, ge=1, le=LONGEST_SECONDS)


class LineOut(Schema):
    """A line as it was ordered."""

    sku: str
    name: str
    quantity: int
    unit_price: Decimal


class OrderOut(Schema):
    """An order. Times are the shop's, UTC; `now` is when it was read. Amounts are in yuan."""

    id: str
    status: str
    payable: bool
    cancel_reason: str | None
    total: Decimal
    currency: str = "CNY"
    placed_at: datetime
    pay_by: datetime
    paid_at: datetime | None
    cancelled_at: datetime | None
    now: datetime
    lines: list[LineOut]


class OrdersOut(Schema):
    """A page of orders, and the number of all orders."""

    items: list[OrderOut]
    count: int


class PayUrlOut(Schema):
    """The address where the order is paid."""

    pay_url: str


@router.post("/orders", response={201: OrderOut, 409: Problem, 422: Problem, 429: Problem}, summary="Place an order")
def create_order(
    request: HttpRequest,
    body: OrderIn,
    idempotency_key: Annotated[IdempotencyKey | None, Header(alias="Idempotency-Key")] = None,
) -> Status[OrderOut]:
    """Place an order at the prices that you saw, and return it. Its stock is held until `pay_by`.

    With an `Idempotency-Key`, the same request sent again returns the same order. With a 409 nothing is ordered:
    `price-changed` or `sold-out` is the reason; or you hold too much without paying: `too-many-open-orders`,
    `too-many-pieces` or `too-many-of-product`. With a 429 you must wait as long as `Retry-After` says: `too-often`, or
    `paused`, because many of your orders were not paid in time.
    """
    count_order(request, caller(request).pk)
    wanted = [Wanted(line.sku, line.quantity, line.unit_price) for line in body.lines]
    window = None if body.pay_within is None else timedelta(seconds=body.pay_within)
    placed = place(caller(request), wanted, idempotency_key=idempotency_key, window=window)
    return Status(201, _order_out(fresh(placed.order.pk)))


@router.get("/orders", response={200: OrdersOut}, summary="List your orders")
def list_orders(
    request: HttpRequest,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> OrdersOut:
    """Return your orders, newest first."""
    readings, count = read_all(caller(request), limit=limit, offset=offset)
    return OrdersOut(items=[_order_out(reading) for reading in readings], count=count)


@router.get("/orders/{order_id}", response={200: OrderOut, 404: Problem}, summary="Look at an order")
def get_order(request: HttpRequest, order_id: str) -> OrderOut | HttpResponse:
    """Return one of your orders. `now` is the time of the shop's clock, to which `pay_by` refers."""
    reading = read(caller(request), order_id)
    return _unknown() if reading is None else _order_out(reading)


@router.post(
    "/orders/{order_id}/cancel",
    response={200: OrderOut, 202: OrderOut, 404: Problem, 409: Problem},
    summary="Cancel an order",
)
def cancel_order(request: HttpRequest, order_id: str) -> Status[OrderOut] | HttpResponse:
    """Cancel one of your unpaid orders and return it. A repeated call changes nothing.

    202: the payment gateway has not said yet whether the order was paid; the order is `closing`. 409: it is paid.
    """
    reading = read(caller(request), order_id)
    if reading is None:
        return _unknown()
    order = cancel(reading.order.pk, reason=Reason.BUYER, who=Actor(ActorKind.BUYER, str(reading.order.buyer_id)))
    return Status(200 if order.status == OrderStatus.CANCELLED else 202, _order_out(fresh(order.pk)))


@router.post(
    "/orders/{order_id}/pay",
    response={200: PayUrlOut, 404: Problem, 409: Problem, 503: Problem},
    summary="Pay an order",
)
def pay_order(request: HttpRequest, order_id: str) -> PayUrlOut | HttpResponse:
    """Return the address where the order is paid. The deadline does not move.

    409: the order can no longer be paid. 503: the shop cannot take payments at the moment; or, with `retry_after` in
    seconds, an earlier link must end first (`link-still-open`).
    """
    pk = own(caller(request), order_id)
    if pk is None:
        return _unknown()
    return PayUrlOut(pay_url=request.build_absolute_uri(payment_link(pk)))


def _unknown() -> HttpResponse:
    """Return the same response for an order that does not exist and for an order of another buyer."""
    return problem(404, "You have no such order.", code="unknown-order")


def _order_out(reading: Reading) -> OrderOut:
    """Return the order as it is sent."""
    order = reading.order
    return OrderOut(
        id=order.public_id,
        status=reading.status,
        payable=reading.payable,
        cancel_reason=order.cancel_reason or None,
        total=order.total,
        placed_at=order.placed_at,
        pay_by=order.pay_by,
        paid_at=order.paid_at,
        cancelled_at=order.cancelled_at,
        now=reading.now,
        lines=[
            LineOut(sku=line.product.sku, name=line.product.name, quantity=line.quantity, unit_price=line.unit_price)
            for line in order.lines.all()
        ],
    )
