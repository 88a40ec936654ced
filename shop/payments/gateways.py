"""The shop's port to payment gateways, and the list of gateways. Add a gateway here by one line."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from django.conf import settings

from lapse.orders import Gateway
from shop.orders.refusals import PaymentUnavailable
from shop.payments.alipay import alipay_payments
from shop.payments.development import DevelopmentGateway
from shop.payments.models import PaymentAttempt


class PaymentGateway(Gateway, Protocol):
    """A payment provider: the shop asks, closes and refunds attempts there, and buyers pay there."""

    @property
    def least_time(self) -> timedelta:
        """The shop hands out no link that ends sooner than this."""
        ...

    @property
    def least_window(self) -> timedelta:
        """The shortest time to pay in which each order can be paid here."""
        ...

    def link_ends(self, pay_by: datetime) -> datetime:
        """Return when the link of an order with this deadline ends; never after the deadline."""
        ...

    def link(self, attempt: PaymentAttempt) -> str:
        """Return the address where the buyer pays this attempt: absolute, or a path of this shop.

        Called outside any transaction, and again for the same attempt.
        """
        ...


OPENERS: Mapping[str, Callable[[], PaymentGateway | None]] = {
    "alipay": alipay_payments,
    "development": DevelopmentGateway,
}
"""How each gateway is opened, by the name that its attempts carry. None: its settings are missing or wrong."""


class _Gateways(Mapping[str, PaymentGateway]):
    """The gateways that the settings make possible.

    The development gateway is always one of them, because its attempts must be closed too. `chosen` decides whether
    it hands out links.
    """

    def __getitem__(self, name: str) -> PaymentGateway:
        gateway = OPENERS[name]()
        if gateway is None:
            raise KeyError(name)
        return gateway

    def __iter__(self) -> Iterator[str]:
        return (name for name, opener in OPENERS.items() if opener() is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


GATEWAYS: Mapping[str, PaymentGateway] = _Gateways()
"""Each gateway by the name that its attempts carry."""


def chosen() -> tuple[str, PaymentGateway]:
    """Return the name and the gateway for new links. Raises PaymentUnavailable if its settings are incomplete."""
    name = settings.SHOP_GATEWAY
    gateway = GATEWAYS.get(name)
    if gateway is None:
        raise PaymentUnavailable("Payment is not possible at the moment. Your order stays held until its deadline.")
    return name, gateway
