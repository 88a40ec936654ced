"""The abstract model of a Django shop's attempts to pay: what Lapse must know about each. Import it in `models.py`."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.expressions import DatabaseDefault
from django.db.models.functions import Now

from lapse.integrations.django.rows.attempts import STILL_OPEN
from lapse.integrations.django.rows.database_clock import DatabaseNow
from lapse.orders.late_money import FIRST, AttemptState

__all__ = ["STILL_OPEN", "AbstractPaymentAttempt", "State"]


class State(models.TextChoices):
    """The states of an attempt: those of `lapse.orders.AttemptState`, with labels."""

    CREATED = AttemptState.CREATED.value
    PENDING = AttemptState.PENDING.value
    UNKNOWN = AttemptState.UNKNOWN.value
    CLOSED = AttemptState.CLOSED.value
    FAILED = AttemptState.FAILED.value
    SUCCEEDED = AttemptState.SUCCEEDED.value
    REFUND_DUE = AttemptState.REFUND_DUE.value, "refund due"
    REFUNDED = AttemptState.REFUNDED.value
    REVIEW = AttemptState.REVIEW.value
    WRITTEN_OFF = AttemptState.WRITTEN_OFF.value, "written off"


class AbstractPaymentAttempt(models.Model):
    """One try to pay one order. A shop's model inherits these fields, and adds `order`, a foreign key to its order.

    Create the row, with an unguessable `reference`, in a transaction that has locked the order and found it unpaid.
    From then on Lapse writes the other fields. Amounts are in the currency's main unit.
    """

    reference = models.CharField(max_length=64, unique=True)
    """The shop's number of the attempt, never used again."""
    gateway = models.CharField(max_length=40)
    """The gateway's name in `UnpaidOrders.gateways`."""
    amount = models.DecimalField(max_digits=16, decimal_places=2)
    """What the buyer has to pay."""
    expires_at = models.DateTimeField(null=True)
    """When the payment link ends, by the gateway's clock. Null: it does not end, or the shop does not know when."""
    state = models.CharField(max_length=10, choices=State, default=State.CREATED)
    provider_reference = models.CharField(max_length=64, blank=True, default="")
    """The gateway's number of the payment, once money has come."""
    payment_key = models.CharField(max_length=106, unique=True, null=True, default=None, editable=False)  # noqa: DJ001 - of texts that are unique, only nulls may repeat
    """The gateway's name and its number of the payment: no two attempts share a payment. Null: no number is known."""
    paid = models.DecimalField(max_digits=16, decimal_places=2, null=True)
    """What the buyer has paid. Null: no money has come."""
    refunded = models.DecimalField(max_digits=16, decimal_places=2, default=0)
    """The part of `paid` that was refunded."""
    refunding = models.DecimalField(max_digits=16, decimal_places=2, null=True)
    """The amount of the refund that Lapse asked the gateway for."""
    alarm = models.CharField(max_length=500, blank=True, default="")
    """A sentence for the person who must look at this attempt."""
    written_off = models.CharField(max_length=500, blank=True, default="")
    """Why a person has written this attempt off. Empty: it was not written off."""
    asks = models.PositiveSmallIntegerField(default=0)
    """How often the gateway was asked since the attempt has its state."""
    ask_at = models.DateTimeField(null=True, db_index=True, db_default=Now())
    """When to ask the gateway about this attempt, by the database's clock. Null: never again."""
    made_at = models.DateTimeField(db_default=Now())
    state_at = models.DateTimeField(db_default=Now())
    """Since when the attempt has its state."""
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Abstract."""

        abstract = True

    def __str__(self) -> str:
        """Return the state and the number."""
        return f"{self.state} attempt {self.reference}"

    def save(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Django's signature
        """Save the row. The gateway is asked about a new attempt when its buyer had some time to pay."""
        if self._state.adding and isinstance(self.ask_at, DatabaseDefault):
            self.ask_at = DatabaseNow(-FIRST)
        super().save(*args, **kwargs)
