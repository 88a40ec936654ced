"""A payment meets the lapse of its order at each boundary of the three steps, in both sequences."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from lapse.orders import Attempt, OrderBatch, Outcome, Record, Refund, Ruling, Settled
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder
from tests.django.wirings.money import PRICE, Bank, CupOrders, begin, place
from tests.races.meeting import at_once, every_yuan_is_known, notify, standing, stored, while_it_stands

LATER = timedelta(hours=1)
ROUNDS = 50


class Broken(CupOrders):
    """A shop whose piece broke: nothing comes back when its order lapses."""

    def on_lapse(self, orders: OrderBatch[CupOrder]) -> None:
        """Free no piece."""


def step_one(order: CupOrder) -> list[Attempt]:
    """Begin to lapse the order, and return the attempts to close."""
    return list(CupOrders().port().begin([str(order.pk)]).attempts)


def step_three(order: CupOrder, rulings: list[Ruling]) -> Outcome:
    """Finish the order by these rulings."""
    return CupOrders().port().finish(rulings)[str(order.pk)].outcome


def test_r2_a_notify_while_the_gateway_closes(bank: Bank) -> None:
    """The bank has closed the attempt, and its answer is under way: the payment wins, and step three does nothing."""
    attempt = begin(order := place(), "a1")
    with standing(bank, "close") as point:
        met = while_it_stands(
            point,
            lambda: CupOrders().lapse([str(order.pk)])[str(order.pk)].outcome,
            lambda: CupOrders().receive(notify(attempt)),
        )
    assert met == (Outcome.NOT_UNPAID, Settled.PAID, False)
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])


def test_r2_a_notify_while_step_three_books_the_same_money(bank: Bank) -> None:
    """The query of step two has found the money: the notify waits for the row, and says nothing new."""
    attempt = begin(order := place(), "a1")
    bank.pay("a1")
    rulings = [bank.close(each) for each in step_one(order)]
    shop = CupOrders()
    with standing(shop, "on_paid") as point:
        results, settled, waited = while_it_stands(
            point, lambda: shop.port().finish(rulings), lambda: CupOrders().receive(notify(attempt))
        )
    assert (results[str(order.pk)].outcome, settled, waited) == (Outcome.PAID, Settled.KNOWN, True)
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


def test_m2_r9_step_three_comes_while_the_notify_is_not_committed(bank: Bank) -> None:
    """The close answers that the attempt is paid already: step three waits for the row, and drops no payment."""
    attempt = begin(order := place(), "a1")
    bank.pay("a1")
    rulings = [bank.close(each) for each in step_one(order)]
    shop = CupOrders()
    with standing(shop, "on_paid") as point:
        met = while_it_stands(point, lambda: shop.receive(notify(attempt)), lambda: step_three(order, rulings))
    assert met == (Settled.PAID, Outcome.NOT_UNPAID, True)
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


def test_m2_money_of_a_second_attempt_while_the_row_is_locked(bank: Bank) -> None:
    """Step three has found the second attempt's money while the first one's notify pays: it is due, not dropped."""
    order = place()
    attempts = [begin(order, reference) for reference in ("a1", "a2")]
    opened = step_one(order)
    for attempt in attempts:
        bank.pay(attempt.reference)
    rulings = [bank.close(each) for each in opened]
    shop = CupOrders()
    with standing(shop, "on_paid") as point:
        while_it_stands(point, lambda: shop.receive(notify(attempts[0])), lambda: step_three(order, rulings))
    assert stored(order) == ("paid", PRICE, 0, ["succeeded", "orphaned"])
    assert CupOrders().reconciler().once() == {Settled.REFUNDED: 1}
    every_yuan_is_known(bank)


@pytest.mark.parametrize("stock", [True, False], ids=["R3", "R4"])
def test_r3_r4_a_notify_while_the_cancel_is_not_committed(bank: Bank, stock: bool) -> None:
    """The payment waits for the cancel. Then it is late: the order is reinstated, or the money goes back."""
    attempt = begin(order := place(), "a1")
    rulings = [bank.close(each) for each in step_one(order)]
    bank.pay("a1")
    shop = CupOrders() if stock else Broken()
    with standing(shop, "on_lapse") as point:
        results, settled, waited = while_it_stands(
            point, lambda: shop.port().finish(rulings), lambda: CupOrders().receive(notify(attempt))
        )
    assert (results[str(order.pk)].outcome, waited) == (Outcome.LAPSED, True)
    if stock:
        assert settled is Settled.REINSTATED
        assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    else:
        assert settled is Settled.REFUND_DUE
        assert CupOrders().reconciler().once() == {Settled.REFUNDED: 1}
        assert stored(order) == ("cancelled", 0, 0, ["refunded"])
    every_yuan_is_known(bank)


def test_r1_r2_r3_a_notify_and_a_lapse_at_once(bank: Bank) -> None:
    """In each of 50 rounds the money pays the order, before the cancel or after it, and the piece is sold once."""
    cup = Cup.objects.create(stock=0)
    for number in range(ROUNDS):
        attempt = begin(order := place(cup=cup), f"a{number}")
        bank.pay(attempt.reference)
        at_once(
            lambda attempt=attempt: CupOrders().receive(notify(attempt)),  # type: ignore[misc] # bound at once
            lambda order=order: CupOrders().lapse([str(order.pk)]),  # type: ignore[misc]
        )
    CupOrders().lapse([str(order.pk) for order in CupOrder.objects.all()])
    assert Counter(CupAttempt.objects.values_list("state", flat=True)) == {"succeeded": ROUNDS}
    assert Counter(CupOrder.objects.values_list("status", flat=True)) == {"paid": ROUNDS}
    assert Cup.objects.get().stock == 0
    every_yuan_is_known(bank)


@pytest.mark.parametrize("first", ["buyer", "merchant", "timer", "notify"])
def test_r15_buyer_merchant_timer_and_notify_at_once(bank: Bank, first: str) -> None:
    """The first one stands before its commit while the other three come. Each effect happens once.

    The reason of the first cancel stays. The money pays the order, before the cancel or after it.
    """
    attempt = begin(order := place(), "a1")
    lapsed: list[str] = []
    paid: list[str] = []

    class Noting(CupOrders):
        def on_lapse(self, orders: OrderBatch[CupOrder]) -> None:
            lapsed.append(orders.reason)
            super().on_lapse(orders)

        def on_paid(self, order: CupOrder, attempt: Record) -> None:
            paid.append(attempt.reference)
            super().on_paid(order, attempt)

    def pay(shop: CupOrders) -> Settled:
        bank.pay("a1")
        return shop.receive(notify(attempt))

    come: dict[str, Callable[[CupOrders], object]] = {
        "buyer": lambda shop: shop.cancel([order], by="buyer 7", reason="buyer"),
        "merchant": lambda shop: shop.cancel([order], by="clerk", reason="merchant"),
        "timer": lambda shop: shop.lapse([str(order.pk)]),
        "notify": pay,
    }
    begun = come.pop(first)
    shop = Noting()
    with standing(shop, "on_paid" if first == "notify" else "on_lapse") as point:
        others = [partial(work, Noting()) for work in come.values()]
        *_, waited = while_it_stands(point, lambda: begun(shop), lambda: at_once(*others))
    assert waited
    assert lapsed == {"notify": [], "timer": ["expired"]}.get(first, [first])
    assert paid == ["a1"]
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


def test_r24_a_reinstated_order_does_not_lapse_again(bank: Bank) -> None:
    """It is overdue and paid: its piece is reserved once, and a timer that fires again gives nothing back."""
    attempt = begin(order := place(), "a1")
    CupOrders().lapse([str(order.pk)])
    assert CupOrders().receive(notify(attempt)) is Settled.REINSTATED
    bank.pay("a1")
    for _ in range(2):
        assert CupOrders().lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.NOT_UNPAID
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


def test_a_gateway_that_answers_about_another_attempt_is_not_believed(bank: Bank) -> None:
    """A gateway that mixes up its answers under load pays, closes and refunds nothing."""
    asked, other = begin(place(), "a1"), begin(place(due=LATER), "a2")
    bank.pay("a2")

    class Mixed(Bank):
        def close(self, attempt: Attempt) -> Ruling:
            return bank.query(replace(attempt, reference="a2"))

        query = close

        def refund_status(self, attempt: Attempt) -> Refund:
            return bank.refund(replace(attempt, reference="a2"), PRICE)

    CupOrders.gateways = {"bank": Mixed()}
    shop = CupOrders()
    key = str(asked.order_id)
    assert shop.lapse([key])[key].outcome is Outcome.UNANSWERED
    CupAttempt.objects.filter(pk=asked.pk).update(ask_at="2020-01-01T00:00Z")
    shop.reconciler().once()
    assert stored(other.order) == ("awaiting", 0, 0, ["created"])
    assert stored(asked.order)[0] == "closing"
