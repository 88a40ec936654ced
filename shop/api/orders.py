"""Ordering, paying, cancelling."""

from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Header, Query, Router, Status
from pydantic import StringConstraints

from shop.api.bearer import BuyerToken, caller
from shop.api.order_documents import OrderIn, OrderOut, OrdersOut, PayUrlOut, order_out
from shop.api.problems import Problem, problem
from shop.limits import count_order
from shop.orders.cancelling import cancel
from shop.orders.models import Reason
from shop.orders.models import Status as OrderStatus
from shop.orders.placing import Wanted, place
from shop.orders.reading import fresh, own, read, read_all
from shop.payments.links import payment_link

router = Router(tags=["orders"], auth=BuyerToken())

IdempotencyKey = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x20-\x7e]+$")]


@router.post("/orders", response={201: OrderOut, 409: Problem, 422: Problem, 429: Problem}, summary="Place an order")
def create_order(
    request: HttpRequest,
    body: OrderIn,
    idempotency_key: Annotated[IdempotencyKey | None, Header(alias="Idempotency-Key")] = None,
) -> Status[OrderOut]:
    """Place an order at the prices that you saw, and have its stock held until `pay_by`.

    With an `Idempotency-Key`, the same request sent again gives the same order. 409 `price-changed`, `sold-out` or
    `too-many-open-orders` say what is in the way; nothing is ordered then.
    """
    count_order(request, caller(request).pk)
    wanted = [Wanted(line.sku, line.quantity, line.unit_price) for line in body.lines]
    placed = place(caller(request), wanted, idempotency_key=idempotency_key)
    return Status(201, order_out(fresh(placed.order.pk)))


@router.get("/orders", response={200: OrdersOut}, summary="List your orders")
def list_orders(
    request: HttpRequest,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> OrdersOut:
    """List your orders, newest first."""
    readings, count = read_all(caller(request), limit=limit, offset=offset)
    return OrdersOut(items=[order_out(reading) for reading in readings], count=count)


@router.get("/orders/{order_id}", response={200: OrderOut, 404: Problem}, summary="Look at an order")
def get_order(request: HttpRequest, order_id: str) -> OrderOut | HttpResponse:
    """Look at one of your orders. `now` is the shop's clock, by which `pay_by` is meant."""
    reading = read(caller(request), order_id)
    return _unknown() if reading is None else order_out(reading)


@router.post(
    "/orders/{order_id}/cancel",
    response={200: OrderOut, 202: OrderOut, 404: Problem, 409: Problem},
    summary="Cancel an order",
)
def cancel_order(request: HttpRequest, order_id: str) -> Status[OrderOut] | HttpResponse:
    """Cancel one of your unpaid orders; doing it again changes nothing.

    202: the payment gateway has not said yet whether it was paid; the order is `closing`. 409: it is paid.
    """
    reading = read(caller(request), order_id)
    if reading is None:
        return _unknown()
    order = cancel(reading.order.pk, reason=Reason.BUYER, who=f"buyer {reading.order.buyer_id}")
    return Status(200 if order.status == OrderStatus.CANCELLED else 202, order_out(fresh(order.pk)))


@router.post(
    "/orders/{order_id}/pay",
    response={200: PayUrlOut, 404: Problem, 409: Problem, 503: Problem},
    summary="Pay an order",
)
def pay_order(request: HttpRequest, order_id: str) -> PayUrlOut | HttpResponse:
    """Get the address where the order is paid. The deadline does not move.

    409: it cannot be paid any more. 503: the shop cannot take money at the moment.
    """
    pk = own(caller(request), order_id)
    if pk is None:
        return _unknown()
    return PayUrlOut(pay_url=request.build_absolute_uri(payment_link(pk)))


def _unknown() -> HttpResponse:
    """Answer alike for an order that does not exist and for another buyer's."""
    return problem(404, "You have no such order.", code="unknown-order")
