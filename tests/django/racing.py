"""Two transactions that meet at one order, by events: the payer comes first, or the lapse comes first."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections, transaction

from lapse.integrations.django import NotUnpaid, UnpaidOrders
from lapse.orders import OrderBatch, Outcome
from tests.django.adopter.threads import PATIENCE, in_thread, wait_until
from tests.django.databases import ALIAS

T = TypeVar("T")

WAITS = {
    "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
    "mysql": "SELECT variable_value FROM information_schema.global_status "
    "WHERE variable_name = 'Innodb_row_lock_current_waits'",
}


def a_transaction_waits() -> bool:
    """Return whether a statement waits for a lock that another transaction holds."""
    connection = connections[ALIAS]
    with connection.cursor() as cursor:
        cursor.execute(WAITS[connection.vendor])
        return int(cursor.fetchone()[0]) > 0


class OppositeSale:
    """A sale that takes two rows in the opposite sequence: it has the first one, and waits for the second one.

    The other transaction takes the second row, calls `meet`, and takes the first row, which closes the circle. The
    database then ends the other transaction, never the sale: PostgreSQL ends the one whose look for a deadlock finds
    the circle, and the sale does not look; MariaDB ends the one that has changed fewer rows.
    """

    def __init__(self, first: Callable[[int], object], second: Callable[[int], object]) -> None:
        """`first` and `second` change the number of pieces of their row by an amount; the sale takes one of each."""
        self._has_first, self._met = threading.Event(), threading.Event()
        self._changes = first, second
        self.sold: Future[None] = in_thread(self._sell)
        assert self._has_first.wait(PATIENCE)

    def meet(self) -> None:
        """Wait until the sale waits for the second row. The repeated transaction does not wait."""
        if not self._met.is_set():
            self._met.set()
            wait_until(a_transaction_waits)

    def _sell(self) -> None:
        first, second = self._changes
        with transaction.atomic(using=ALIAS):
            if connections[ALIAS].vendor == "postgresql":
                with connections[ALIAS].cursor() as cursor:
                    cursor.execute("SET LOCAL deadlock_timeout = '1h'")
            for _ in range(50):
                first(1)
                first(-1)
            first(-1)
            self._has_first.set()
            assert self._met.wait(PATIENCE)
            second(-1)


@contextmanager
def uncommitted(pay: Callable[[], object]) -> Iterator[Future[None]]:
    """Have a payer that has paid and not committed inside the block, and that has committed after it; yield it."""
    paid, done = threading.Event(), threading.Event()

    def pay_slowly() -> None:
        with transaction.atomic(using=ALIAS):
            pay()
            paid.set()
            assert done.wait(PATIENCE)

    payer = in_thread(pay_slowly)
    try:
        wait_until(lambda: paid.is_set() or payer.done())
        assert not payer.done(), payer.result()
        yield payer
    finally:
        done.set()
    payer.result(PATIENCE)


def payer_first(orders: UnpaidOrders[Any], key: str, pay: Callable[[], object]) -> tuple[Outcome, Outcome]:
    """Lapse while a payer has paid and not committed, and again afterwards. Return both outcomes."""
    with uncommitted(pay) as payer:
        during = orders.lapse([key])[key].outcome
        assert not payer.done()  # so the lapse did not wait for the payer
    return during, orders.lapse([key])[key].outcome


def lapse_first(kind: type[UnpaidOrders[Any]], key: str, pay: Callable[[Any], object]) -> tuple[Outcome, str]:
    """Let a payer hold the order while it is being lapsed. Return the outcome, and what became of the payer."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(kind):  # type: ignore[misc,valid-type] # the class is a parameter
        def on_lapse(self, orders: OrderBatch[Any]) -> None:
            super().on_lapse(orders)
            inside.set()
            assert go_on.wait(PATIENCE)

    def pay_by_hold() -> str:
        try:
            with kind().hold(key) as order:
                pay(order)
        except NotUnpaid as error:
            return str(error.outcome)
        return "paid"

    lapse = in_thread(lambda: Slow().lapse([key])[key].outcome)
    try:
        wait_until(lambda: inside.is_set() or lapse.done())
        payer = in_thread(pay_by_hold)
        wait_until(lambda: a_transaction_waits() or payer.done())
        waited = not payer.done()
    finally:
        go_on.set()
    outcome, paid = lapse.result(PATIENCE), payer.result(PATIENCE)
    return outcome, paid if waited else f"{paid} without waiting"


def waits_for_payer(call: Callable[[], T], pay: Callable[[], object]) -> T:
    """Call while a payer has paid and not committed; let the payer commit once the call waits. Return its result."""
    with uncommitted(pay):
        waiting = in_thread(call)
        wait_until(lambda: a_transaction_waits() or waiting.done())
        assert not waiting.done(), "it did not wait for the payer"
    return waiting.result(PATIENCE)
