"""What an order looks like in JSON."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from ninja import Schema
from pydantic import Field, StringConstraints

from shop.orders.placing import MOST_LINES, MOST_PIECES
from shop.orders.reading import Reading

Sku = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[\x21-\x7e]+$")]


class LineIn(Schema):
    """So many of one product; `unit_price` is the price that you saw."""

    sku: Sku
    quantity: int = Field(ge=1, le=MOST_PIECES)
    unit_price: Decimal = Field(ge=0, max_digits=10, decimal_places=2)


class OrderIn(Schema):
    """What to order: each SKU in one line."""

    lines: list[LineIn] = Field(min_length=1, max_length=MOST_LINES)


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
    """A page of orders, and how many there are in all."""

    items: list[OrderOut]
    count: int


class PayUrlOut(Schema):
    """Where the order is paid."""

    pay_url: str


def order_out(reading: Reading) -> OrderOut:
    """Tell of an order."""
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
