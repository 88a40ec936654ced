"""One class per wrong set-up, each wrong in one way."""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from django.contrib.auth.models import User
from django.db.models import Q

from lapse.integrations.django import UnpaidOrders
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.models import Moment, Order
from tests.django.wirings.models import Admission, SaleDeadline


class NoModel(UnpaidOrders[Order]):
    """Declares nothing at all."""


class NoSuchDeadline(AdopterOrders):
    """Names a field that is not there."""

    deadline = "due"


class TextDeadline(AdopterOrders):
    """Names a field that is no time."""

    deadline = "code"


class PlacedForDeadline(UnpaidOrders[Moment]):
    """Names the moment at which the order was made."""

    model = Moment
    unpaid = Q(status="awaiting")
    deadline = "placed_at"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: Sequence[Moment]) -> None:
        """Do nothing."""


class UnindexedDeadline(AdopterOrders):
    """Names a field without an index."""

    deadline = "cancelled_at"


class NoHook(UnpaidOrders[Order]):
    """Has no on_lapse()."""

    model = Order
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}


class EmptyCondition(AdopterOrders):
    """Would lapse paid orders."""

    unpaid = Q()


class ForeignCondition(AdopterOrders):
    """Has a condition on a field that is not there."""

    unpaid = Q(colour="red")


class NoSuchField(AdopterOrders):
    """Writes a field that is not there."""

    lapsed: ClassVar[dict[str, object]] = {"state": "cancelled"}


class NoReasonField(AdopterOrders):
    """Keeps the reason in a field that is not there."""

    reason_field = "why"


class ByReason(AdopterOrders):
    """Not wrong: what is written depends on the reason and the actor."""

    def closing(self, reason: str, actor: str) -> dict[str, object]:  # type: ignore[override] # the base has a dict
        """Return what is written while attempts are being closed."""
        return {"status": "closing" if reason and actor else ""}


class ClosingForgottenByReason(ByReason):
    """Closes an expired order in a state that `unpaid` does not cover."""

    def closing(self, reason: str, actor: str) -> dict[str, object]:  # type: ignore[override] # as above
        """Return what is written while attempts are being closed."""
        return {"status": f"{reason} by {actor}"}


class FunctionFails(ByReason):
    """Cannot be asked what it writes."""

    def closing(self, reason: str, actor: str) -> dict[str, object]:  # type: ignore[override] # as above
        """Fail for the timer."""
        raise LookupError(f"{reason} by {actor}")


class LapsedNothing(AdopterOrders):
    """Writes nothing."""

    lapsed: ClassVar[dict[str, object]] = {}


class LapsedUnpaid(AdopterOrders):
    """Lapses into a state that is still unpaid."""

    lapsed: ClassVar[dict[str, object]] = {"status": "closing"}


class ClosingForgotten(AdopterOrders):
    """Closes in a state that `unpaid` does not cover."""

    closing: ClassVar[dict[str, object]] = {"status": "shutting"}


class Reopened(AdopterOrders):
    """Not wrong: an order that got more time waits for its payment again."""

    reopened: ClassVar[dict[str, object]] = {"status": "awaiting"}


class ReopenedForgotten(AdopterOrders):
    """Reopens into a state that `unpaid` does not cover."""

    reopened: ClassVar[dict[str, object]] = {"status": "open"}


class ReopenedWithoutReason(Reopened):
    """Could not tell a person's cancel from the timer's."""

    reason_field = None  # type: ignore[assignment] # the base has one


class ReopenedNowhere(AdopterOrders):
    """Writes a field that is not there."""

    reopened: ClassVar[dict[str, object]] = {"state": "awaiting"}


class SharedKey(AdopterOrders):
    """Names orders by something that many of them share."""

    key = "status"


class ValuesTooLarge(AdopterOrders):
    """Writes what the columns cannot hold."""

    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled by the timer", "cancelled_at": "tomorrow", "code": None}
    closing: ClassVar[dict[str, object]] = {"status": "closing", "cancelled_at": datetime(2026, 1, 1)}  # noqa: DTZ001 - naive on purpose


class KeyOfAnotherRow(UnpaidOrders[SaleDeadline]):
    """Writes a word into a foreign key, and keeps the reason in a number."""

    model = SaleDeadline
    unpaid = Q(open=True)
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"sale": "none", "open": False}
    reason_field = "sale_id"

    def on_lapse(self, orders: Sequence[SaleDeadline]) -> None:
        """Do nothing."""


class NoChoice(UnpaidOrders[Admission]):
    """Writes a state that is not listed."""

    model = Admission
    unpaid = Q(status="held")
    deadline = "held_until"
    key = "code"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: Sequence[Admission]) -> None:
        """Do nothing."""


class SeveralColumns(NoChoice):
    """Has a primary key whose str() names no row."""

    key = "pk"
    lapsed: ClassVar[dict[str, object]] = {"status": "free"}


class Foreign(UnpaidOrders[User]):
    """Has a deadline in a model of another application, without an index."""

    model = User
    unpaid = Q(is_active=True)
    deadline = "last_login"
    lapsed: ClassVar[dict[str, object]] = {"is_active": False}

    def on_lapse(self, orders: Sequence[User]) -> None:
        """Do nothing."""


class Unrelated:
    """Is no set of orders."""

    def on_lapse(self, orders: Sequence[Order]) -> None:
        """Do nothing."""
