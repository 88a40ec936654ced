"""Notifies that meet: the same one twice, two payments of one order, refunds, one number for two orders."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connections, transaction

from lapse.orders import Record, Settled
from lapse.testing.two_at_once import in_killed_process, kill_this_process, shadowed
from tests.django.databases import ALIAS, WITH_ROW_LOCKS
from tests.django.wirings.cups import CupAttempt, CupOrder
from tests.django.wirings.money import PRICE, Bank, CupOrders, begin, place
from tests.races.meeting import at_once, every_yuan_is_known, notify, standing, stored, while_it_stands

LATER = timedelta(hours=1)
PART = Decimal("20.00")
on_both = pytest.mark.parametrize("database", WITH_ROW_LOCKS, indirect=True)


class Counting(CupOrders):
    """A shop that notes the attempts that pay."""

    def __init__(self) -> None:
        super().__init__()
        self.paid: list[str] = []

    def on_paid(self, order: CupOrder, attempt: Record) -> None:
        """Note the attempt, and sell the piece."""
        self.paid.append(attempt.reference)
        super().on_paid(order, attempt)


def test_r5_the_same_notify_twice_at_once(bank: Bank) -> None:
    """The second one waits for the first one's commit and says nothing new."""
    attempt = begin(order := place(due=LATER), "a1")
    bank.pay("a1")
    first = CupOrders()
    with standing(first, "on_paid") as point:
        met = while_it_stands(
            point, lambda: first.receive(notify(attempt)), lambda: CupOrders().receive(notify(attempt))
        )
    assert met == (Settled.PAID, Settled.KNOWN, True)
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


@on_both
def test_r5_the_same_notify_in_a_transaction_that_has_read_before(bank: Bank) -> None:
    """On MariaDB the shop's own transaction reads what was there before the other notify: the locked row is newer."""
    attempt = begin(order := place(due=LATER), "a1")
    bank.pay("a1")
    if connections[ALIAS].vendor == "mysql":
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SET SESSION innodb_snapshot_isolation = OFF")  # as older servers do, and MySQL
    with transaction.atomic(using=ALIAS):
        assert CupAttempt.objects.get().state == "created"  # from here on the transaction sees this
        assert at_once(lambda: CupOrders().receive(notify(attempt))) == [Settled.PAID]
        assert CupOrders().receive(notify(attempt)) is Settled.KNOWN
    connections[ALIAS].close()
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


def test_r14_two_attempts_of_one_order_are_paid_at_once(bank: Bank) -> None:
    """Exactly one pays. The second one's money is due, and goes back."""
    order = place(due=LATER)
    attempts = [begin(order, reference) for reference in ("a1", "a2")]
    for attempt in attempts:
        bank.pay(attempt.reference)
    first, second = Counting(), Counting()
    with standing(first, "on_paid") as point:
        met = while_it_stands(
            point, lambda: first.receive(notify(attempts[0])), lambda: second.receive(notify(attempts[1]))
        )
    assert met == (Settled.PAID, Settled.REFUND_DUE, True)
    assert (first.paid, second.paid) == (["a1"], [])  # the second one did not even try, and met no deadlock
    assert CupOrders().reconciler().once() == {Settled.REFUNDED: 1}
    assert stored(order) == ("paid", PRICE, 0, ["succeeded", "refunded"])
    every_yuan_is_known(bank)


@pytest.mark.parametrize("refund_first", [True, False])
def test_m3_the_refund_and_the_success_at_once(bank: Bank, refund_first: bool) -> None:
    """In both sequences the refund is final, and the turnover is nothing."""
    attempt = begin(order := place(due=LATER), "a1")
    bank.pay("a1")
    bank.give_back("a1", PRICE)
    reports = [notify(attempt, back=PRICE), notify(attempt)]
    one, other = reports if refund_first else reversed(reports)
    first = CupOrders()
    with standing(first.money.attempts, "store") as point:
        met = while_it_stands(point, lambda: first.receive(one), lambda: CupOrders().receive(other))
    known = (Settled.REFUNDED, Settled.KNOWN) if refund_first else (Settled.PAID, Settled.REFUNDED)
    assert met == (*known, True)
    assert stored(order)[1:] == (0, 0, ["refunded"])
    assert CupAttempt.objects.get().refunded == PRICE


@pytest.mark.parametrize("part_first", [True, False])
def test_m4_a_part_and_all_are_refunded_at_once(bank: Bank, part_first: bool) -> None:
    """In both sequences the turnover is corrected by each part once."""
    attempt = begin(order := place(due=LATER), "a1")
    bank.pay("a1")
    first = CupOrders()
    first.receive(notify(attempt))
    bank.give_back("a1", PRICE)
    one, other = (notify(attempt, back=back) for back in ((PART, PRICE) if part_first else (PRICE, PART)))
    with standing(first, "on_refunded") as point:
        met = while_it_stands(point, lambda: first.receive(one), lambda: CupOrders().receive(other))
    assert met == (Settled.REFUNDED, Settled.REFUNDED if part_first else Settled.KNOWN, True)
    assert stored(order)[1:] == (0, 0, ["refunded"])
    assert CupAttempt.objects.get().refunded == PRICE


@on_both
def test_r14_one_payment_is_reported_for_two_orders_at_once(bank: Bank) -> None:
    """Neither transaction sees the other one's row, and yet one payment pays one order: the other is an alarm."""
    assert bank
    one, other = (begin(place(due=LATER), reference) for reference in ("a1", "a2"))
    first = CupOrders()
    with standing(first, "on_paid") as point:
        met = while_it_stands(
            point,
            lambda: first.receive(notify(one, number="p1")),
            lambda: CupOrders().receive(notify(other, number="p1")),
        )
    assert met == (Settled.PAID, Settled.REVIEW, True)
    assert stored(one.order) == ("paid", PRICE, 0, ["succeeded"])
    assert stored(other.order) == ("awaiting", 0, 0, ["created"])
    other.refresh_from_db()
    assert other.alarm == "payment p1 belongs to another attempt as well"


def test_r14_a_number_is_free_again_if_its_transaction_fails(bank: Bank) -> None:
    """The first booking is rolled back, so the payment is the second attempt's."""
    assert bank
    one, other = (begin(place(due=LATER), reference) for reference in ("a1", "a2"))
    first = CupOrders()

    def fail(*_: object) -> None:
        raise RuntimeError("the shop's hook failed")

    with shadowed(first, "on_paid", fail), pytest.raises(RuntimeError, match="hook failed"):
        first.receive(notify(one, number="p1"))
    assert CupOrders().receive(notify(other, number="p1")) is Settled.PAID
    assert stored(one.order) == ("awaiting", 0, 0, ["created"])


@pytest.mark.parametrize("behind", ["store", "receive"])
def test_r8_r20_killed_while_a_notify_is_booked(bank: Bank, behind: str) -> None:
    """The process dies before the commit or after it, without an answer: the bank sends the notify again."""
    attempt = begin(order := place(due=LATER), "a1")
    bank.pay("a1")
    shop = CupOrders()
    target = shop.money.attempts if behind == "store" else shop
    method = getattr(target, behind)

    def die(*given: object, **named: object) -> None:
        method(*given, **named)
        kill_this_process()

    def receive() -> None:
        with shadowed(target, behind, die):
            shop.receive(notify(attempt))

    connections[ALIAS].close()
    assert in_killed_process(receive) is None
    assert CupOrders().receive(notify(attempt)) is (Settled.KNOWN if behind == "receive" else Settled.PAID)
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)
