"""What the shop refuses, a class per reason. `message` is for the buyer, `code` for programs, `details` has values."""

from collections.abc import Sequence
from typing import Any, ClassVar


class Refused(Exception):
    """Base of all refusals."""

    code: ClassVar[str] = "refused"

    def __init__(self, message: str, **details: Any) -> None:  # noqa: ANN401  # any JSON value
        super().__init__(message)
        self.message = message
        self.details = details


class BadOrder(Refused):
    """The order is not valid."""

    code = "bad-order"


class PriceChanged(Refused):
    """`changes` is a list of {sku, seen, now}."""

    code = "price-changed"

    def __init__(self, changes: Sequence[dict[str, Any]]) -> None:
        text = "; ".join(f"{change['sku']}: seen {change['seen']}, now {change['now']}" for change in changes)
        super().__init__(f"Prices have changed. {text}", changes=list(changes))


class SoldOut(Refused):
    """`short` is a list of {sku, wanted, available}."""

    code = "sold-out"

    def __init__(self, short: Sequence[dict[str, Any]]) -> None:
        text = "; ".join(f"{item['sku']}: {item['wanted']} wanted, {item['available']} available" for item in short)
        super().__init__(f"Sold out. {text}", short=list(short))


class TooManyOpen(Refused):
    """The buyer must pay or cancel an order first."""

    code = "too-many-open-orders"


class CartChanged(Refused):
    """The page on which the order was sent shows an older cart."""

    code = "cart-changed"


class KeyReused(Refused):
    """The same idempotency key came with other lines. `order` is the public id of the order that was placed with it."""

    code = "idempotency-key-reused"


class AlreadyPaid(Refused):
    """The order cannot be cancelled or paid again."""

    code = "already-paid"


class AlreadyCancelled(Refused):
    """The order can no longer be paid."""

    code = "already-cancelled"


class TooLate(Refused):
    """The deadline is over, or the order is being cancelled."""

    code = "too-late"


class PaymentUnavailable(Refused):
    """The gateway is not set up. The order is unchanged."""

    code = "payment-unavailable"
