"""The key of an order leads back to its row, also if the field's validators would refuse it today."""

import uuid
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from lapse.integrations.django import NotUnpaid, UnpaidOrders
from lapse.orders import Outcome, Sweep


class Consignment(models.Model):
    """An order with two more keys."""

    number = models.UUIDField(unique=True, default=uuid.uuid4)
    code = models.CharField(max_length=20, unique=True, validators=[RegexValidator("^[0-9]+$")])
    small = models.SmallIntegerField(unique=True)
    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(db_index=True)

    class Meta:
        """The application of the other models."""

        app_label = "wirings"

    def __str__(self) -> str:
        return f"consignment {self.code}"


class Basket(models.Model):
    """What an order was made from. Baskets are listed by rank."""

    rank = models.IntegerField()

    class Meta:
        """The application of the other models, and a sequence that is not the keys'."""

        app_label = "wirings"
        ordering: ClassVar[list[str]] = ["rank"]

    def __str__(self) -> str:
        return f"basket {self.pk}"


class Bought(models.Model):
    """An order whose key is the basket's."""

    basket = models.OneToOneField(Basket, models.CASCADE)
    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(db_index=True)

    class Meta:
        """The application of the other models."""

        app_label = "wirings"

    def __str__(self) -> str:
        return f"order {self.pk}"


class ByNumber(UnpaidOrders[Consignment]):
    """The key is a UUID."""

    model = Consignment
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    key = "number"
    lapsed: ClassVar[Any] = {"status": "cancelled"}

    def on_lapse(self, orders: object) -> None:
        """Keep no stock."""


class ByCode(ByNumber):
    """The key is a text with a validator."""

    key = "code"


class BySmall(ByNumber):
    """The key is a number of two bytes."""

    key = "small"


def overdue(**values: Any) -> Consignment:
    """Place an order that is overdue."""
    due = timezone.now() - timedelta(minutes=1)
    order = Consignment(**{"code": "1", "small": 1, "pay_by": due} | values)
    order.save()
    return order


@pytest.mark.usefixtures("database")
def test_a_key_that_was_assigned_as_a_text_is_the_key_in_the_row() -> None:
    """A new instance has what the shop assigned, such as a UUID without hyphens."""
    number = uuid.uuid4()
    with ByNumber().hold(overdue(number=number.hex.upper())) as held:
        assert held.number == number


@pytest.mark.usefixtures("database")
def test_an_order_whose_key_a_validator_refuses_lapses() -> None:
    """Django asks validators in forms alone; older rows may have other keys."""
    overdue(code="OLD/7")
    assert Sweep(ByCode().port().lapsing()).once().lapsed == 1


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("orders", [ByNumber, ByCode, BySmall])
def test_a_key_that_no_row_can_have_is_unknown(orders: type[UnpaidOrders[Any]]) -> None:
    """Also a number that is too large for its column, or a text that is too long."""
    overdue()
    for key in ["70000", str(10**30), "x" * 100, "none"]:
        assert orders().lapse([key])[key].outcome is Outcome.UNKNOWN
        with pytest.raises(NotUnpaid), orders().hold(key):
            raise AssertionError("held")


@pytest.mark.usefixtures("database")
def test_pages_of_overdue_orders_follow_each_other_by_a_foreign_key() -> None:
    """Each order is on one page, although the other model is sorted in another way."""

    class ByBasket(UnpaidOrders[Any]):
        model, unpaid, deadline, key = Bought, Q(status="awaiting"), "pay_by", "basket"

    due = timezone.now() - timedelta(minutes=1)
    for rank in range(4, 0, -1):
        basket = Basket(rank=rank)
        basket.save()
        Bought(basket=basket, pay_by=due).save()
    port = ByBasket().port()
    first = port.overdue(2)
    rest = port.overdue(3, after=first[-1])
    assert len({order.key for order in [*first, *rest]}) == 4
