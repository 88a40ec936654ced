"""Two at once: the database decides, and there is one winner."""

import threading
from collections.abc import Sequence

import pytest
from django.db import connection, transaction

from lapse.engine.errors import TryLater
from lapse.orders.port import Outcome
from tests.django.adopter.lapsing import AdopterOrders, pay
from tests.django.adopter.models import Order
from tests.django.adopter.placing import place, status, stock
from tests.django.adopter.threads import PATIENCE, a_row_is_waited_for, in_thread, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_that_lapse_the_same_orders_share_them(orders: AdopterOrders) -> None:
    """Each order lapses in exactly one of two threads, and the stock comes back once."""
    placed = place(200)
    keys = [str(order.pk) for order in placed]
    start = threading.Barrier(2)

    def lapse() -> list[str]:
        start.wait(PATIENCE)
        return [key for key, result in orders.lapse(keys).items() if result.outcome is Outcome.LAPSED]

    first, second = (future.result(PATIENCE) for future in [in_thread(lapse), in_thread(lapse)])
    assert sorted(first + second) == sorted(keys)
    assert stock(placed[0]) == 200


def test_a_locked_order_is_not_waited_for_and_delays_no_other(orders: AdopterOrders) -> None:
    """While a payment holds one row, that one is LOCKED and the other lapses."""
    held, free = place(2)
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Order.objects.select_for_update().get(pk=held.pk)
            locked.set()
            assert done.wait(PATIENCE)

    holder = in_thread(hold)
    assert locked.wait(PATIENCE)
    results = orders.lapse([str(held.pk), str(free.pk)])
    assert not holder.done()  # so the lapse did not wait for it
    done.set()
    holder.result(PATIENCE)
    assert results[str(held.pk)].outcome is Outcome.LOCKED
    assert results[str(free.pk)].outcome is Outcome.LAPSED
    assert orders.lapse([str(held.pk)])[str(held.pk)].outcome is Outcome.LAPSED


def test_a_payment_that_comes_first_wins(orders: AdopterOrders) -> None:
    """A payment under way makes the order LOCKED; once it is committed, the order is not unpaid."""
    (order,) = place()
    paid, done = threading.Event(), threading.Event()

    def pay_slowly() -> bool:
        with transaction.atomic():
            won = pay(order.pk)
            paid.set()
            assert done.wait(PATIENCE)
        return won

    payment = in_thread(pay_slowly)
    assert paid.wait(PATIENCE)
    during = orders.lapse([str(order.pk)])[str(order.pk)].outcome
    done.set()
    assert payment.result(PATIENCE)
    after = orders.lapse([str(order.pk)])[str(order.pk)].outcome
    assert (during, after) == (Outcome.LOCKED, Outcome.NOT_UNPAID)
    assert (status(order), stock(order)) == ("paid", 0)


def test_a_lapse_that_comes_first_wins(orders: AdopterOrders) -> None:
    """A payment that arrives while the order lapses waits for the row, and then changes nothing."""
    (order,) = place()
    inside, go_on = threading.Event(), threading.Event()

    def stand_still(_: Sequence[Order]) -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    orders.watch = stand_still
    lapse = in_thread(lambda: orders.lapse([str(order.pk)]))
    assert inside.wait(PATIENCE)
    payment = in_thread(lambda: pay(order.pk))
    wait_until(a_row_is_waited_for)
    go_on.set()
    assert lapse.result(PATIENCE)[str(order.pk)].outcome is Outcome.LAPSED
    assert payment.result(PATIENCE) is False
    assert (status(order), stock(order)) == ("cancelled", 1)


def test_each_of_many_races_has_one_winner(orders: AdopterOrders) -> None:
    """Each order is either paid with its stock gone or cancelled with its stock back."""
    placed = place(40)
    start = threading.Barrier(2)

    def pay_all() -> int:
        start.wait(PATIENCE)
        return sum(pay(order.pk) for order in placed)

    def lapse_all() -> int:
        start.wait(PATIENCE)
        lapsed = 0
        for order in reversed(placed):
            outcome = Outcome.LOCKED
            while outcome is Outcome.LOCKED:
                outcome = orders.lapse([str(order.pk)])[str(order.pk)].outcome
            lapsed += outcome is Outcome.LAPSED
        return lapsed

    futures = [in_thread(pay_all), in_thread(lapse_all)]
    paid, lapsed = (future.result(PATIENCE) for future in futures)
    assert paid + lapsed == 40
    assert stock(placed[0]) == lapsed
    assert Order.objects.filter(status="paid").count() == paid
    assert Order.objects.filter(status="cancelled").count() == lapsed


def test_a_connection_that_breaks_is_no_orders_fault(orders: AdopterOrders) -> None:
    """The server ends our connection in the middle: TryLater, nothing changed, and the next try works."""
    (order,) = place()
    connection.ensure_connection()
    mine = connection.connection.info.backend_pid

    def end(_: Sequence[Order]) -> None:
        def terminate() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [mine])

        in_thread(terminate).result(PATIENCE)
        Order.objects.count()

    orders.watch = end
    with pytest.raises(TryLater, match="the database is unavailable"):
        orders.lapse([str(order.pk)])
    orders.watch = lambda _: None
    assert (status(order), stock(order)) == ("awaiting", 0)
    assert orders.lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.LAPSED
