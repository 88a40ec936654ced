"""Transactions of money and sales that lock the same products in different sequences."""

from collections.abc import Callable
from datetime import timedelta

from django.db.models import F

from lapse.orders import Record, Settled
from lapse.testing.two_at_once import PATIENCE
from tests.django.racing import OppositeSale
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder
from tests.django.wirings.money import PRICE, Bank, CupOrders, begin, place
from tests.races.meeting import every_yuan_is_known, notify, stored


def test_a_deadlock_of_a_notify_and_a_sale_is_repeated_and_counted_once(bank: Bank) -> None:
    """The database ends the booking, whose second try waits for the sale. Both are in effect once."""
    attempt: CupAttempt = begin(order := place(due=timedelta(hours=1)), "a1")
    bank.pay("a1")
    first, second = order.cup, Cup.objects.create(stock=0)

    def change(cup: Cup) -> Callable[[int], object]:
        return lambda by: Cup.objects.filter(pk=cup.pk).update(stock=F("stock") + by)

    sale = OppositeSale(change(first), change(second))

    class Backwards(CupOrders):
        tries = 0

        def on_paid(self, order: CupOrder, attempt: Record) -> None:
            self.tries += 1
            change(second)(10)
            sale.meet()
            change(first)(10)
            super().on_paid(order, attempt)

    shop = Backwards()
    assert shop.receive(notify(attempt)) is Settled.PAID
    sale.sold.result(PATIENCE)
    assert shop.tries == 2
    assert [cup.stock for cup in Cup.objects.order_by("pk")] == [9, 9]
    assert stored(order) == ("paid", PRICE, 9, ["succeeded"])
    every_yuan_is_known(bank)
