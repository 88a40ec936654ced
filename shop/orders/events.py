"""What happens to orders and to their attempts to pay, and who causes it, as the audit trail stores it."""

from decimal import Decimal
from typing import NamedTuple, Protocol

from django.db import models
from django.utils.translation import gettext_lazy as _


class ActorKind(models.TextChoices):
    """The kinds of actors. The labels are what pages show."""

    TIMER = "timer", _("the timer")
    """The worker or the sweep."""
    READER = "reader", _("a visit of a page, or a sale")
    """A read or a sale that found an overdue order before a worker did."""
    BUYER = "buyer", _("the buyer")
    MERCHANT = "merchant", _("the merchant")
    GATEWAY = "gateway", _("the payment service")
    SYSTEM = "system", _("the shop")


class Actor(NamedTuple):
    """One actor. `id` is a user's primary key, a gateway's name, a part of the shop, or "" if the kind says all.

    Its text, such as "buyer 7", is what `unpaid_orders().cancel(by=…)` carries.
    """

    kind: ActorKind
    id: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.id}".rstrip()

    @classmethod
    def read(cls, text: str) -> "Actor":
        """Return the actor of a text. A text without a kind is a part of the shop, such as "webhook"."""
        kind, _separator, name = text.partition(" ")
        return cls(ActorKind(kind), name) if kind in ActorKind else cls(ActorKind.SYSTEM, text)


class Subject(models.TextChoices):
    """What an entry of the audit trail is about."""

    ORDER = "order"
    ATTEMPT = "attempt"


class What(models.TextChoices):
    """What has happened. The states before and after say the rest."""

    PLACED = "placed"
    CLOSING = "closing"
    REOPENED = "reopened"
    CANCELLED = "cancelled"
    PAID = "paid"
    REINSTATED = "reinstated"
    EXTENDED = "extended"
    REVIVED = "revived"
    REMINDED = "reminded"
    OPENED = "opened"
    """The buyer began to pay: a new attempt."""
    ATTEMPT = "attempt"
    """The state of an attempt has changed."""
    REFUNDED = "refunded"
    """Money of an attempt went back to the buyer."""
    ALARM = "alarm"
    """A payment needs a person. `detail` says why."""
    ALARM_REMOVED = "alarm_removed"
    ASKED_AGAIN = "asked_again"
    REFUND_DECIDED = "refund_decided"
    REINSTATE_DECIDED = "reinstate_decided"
    """A merchant let money that waited pay its order."""
    NOTE = "note"
    """A merchant wrote a note about a payment."""
    ASSIGNED = "assigned"
    WRITTEN_OFF = "written_off"


class AttemptLike(Protocol):
    """What an entry about an attempt reads: `PaymentAttempt` and `lapse.orders.Record` have it."""

    @property
    def reference(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def amount(self) -> Decimal: ...  # noqa: D102
    @property
    def paid(self) -> Decimal | None: ...  # noqa: D102
    @property
    def refunded(self) -> Decimal: ...  # noqa: D102
