"""What the shop refuses, a class per reason. `message` is for the buyer, `code` for programs, `details` has values."""

import math
from collections.abc import Sequence
from datetime import datetime
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


class TooManyPieces(Refused):
    """The buyer must pay or cancel an order first, or order fewer pieces. `room` is how many may still be ordered."""

    code = "too-many-pieces"

    def __init__(self, *, held: int, wanted: int, limit: int) -> None:
        text = f"You hold {held} unpaid pieces and order {wanted}, and {limit} may be unpaid at a time."
        room = max(0, limit - held)
        least = f" Or order {room} at most." if room else ""
        super().__init__(
            f"{text} Pay or cancel an order first.{least}", held=held, wanted=wanted, limit=limit, room=room
        )


class TooManyOfProduct(Refused):
    """`over` is a list of {sku, wanted, held, limit}: pieces of one product that one buyer may hold without paying."""

    code = "too-many-of-product"

    def __init__(self, over: Sequence[dict[str, Any]]) -> None:
        text = "; ".join(
            f"{item['sku']}: you hold {item['held']} unpaid and order {item['wanted']}, {item['limit']} at a time"
            for item in over
        )
        super().__init__(f"Pay or cancel an order first, or order fewer pieces. {text}.", over=list(over))


class Paused(Refused):
    """Many orders of the buyer lapsed. `until` is when the buyer may order again, `retry_after` the seconds to then."""

    code = "paused"

    def __init__(self, until: datetime, *, now: datetime, lapsed: int) -> None:
        seconds = math.ceil((until - now).total_seconds())
        text = f"{lapsed} of your orders were not paid in time. You can order again in {seconds} s."
        super().__init__(text, until=until, retry_after=seconds, lapsed=lapsed)


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


class LinkStillOpen(PaymentUnavailable):
    """The gateway has not closed an earlier link, which must be replaced. `retry_after` are seconds."""

    code = "link-still-open"
