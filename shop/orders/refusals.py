"""What the shop refuses, and why. Each message is for the buyer; `code` is for programs; `details` says the facts.

Refused
├── BadOrder            the order makes no sense: empty, a SKU twice, an unknown SKU
├── PriceChanged        the buyer saw other prices
├── SoldOut             fewer are available than wanted
├── TooManyOpen         this buyer has too many unpaid orders
├── KeyReused           the idempotency key stands for another order
├── AlreadyPaid         it is paid
├── AlreadyCancelled    it is cancelled
├── TooLate             its time to pay is over, or too little of it is left
└── PaymentUnavailable  the shop cannot take money at the moment
"""

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
    """The order makes no sense."""

    code = "bad-order"


class PriceChanged(Refused):
    """`changes` is a list of {sku, seen, now}."""

    code = "price-changed"

    def __init__(self, changes: Sequence[dict[str, Any]]) -> None:
        told = "; ".join(f"{change['sku']}: seen {change['seen']}, now {change['now']}" for change in changes)
        super().__init__(f"Prices have changed. {told}", changes=list(changes))


class SoldOut(Refused):
    """`short` is a list of {sku, wanted, available}."""

    code = "sold-out"

    def __init__(self, short: Sequence[dict[str, Any]]) -> None:
        told = "; ".join(f"{item['sku']}: {item['wanted']} wanted, {item['available']} available" for item in short)
        super().__init__(f"Sold out. {told}", short=list(short))


class TooManyOpen(Refused):
    """The buyer must pay or cancel one first."""

    code = "too-many-open-orders"


class KeyReused(Refused):
    """The same idempotency key came with another body."""

    code = "idempotency-key-reused"


class AlreadyPaid(Refused):
    """Nothing can cancel it or pay it again."""

    code = "already-paid"


class AlreadyCancelled(Refused):
    """It cannot be paid any more."""

    code = "already-cancelled"


class TooLate(Refused):
    """Its deadline is past, or it is being cancelled."""

    code = "too-late"


class PaymentUnavailable(Refused):
    """The gateway is not set up; nothing has become of the order."""

    code = "payment-unavailable"
