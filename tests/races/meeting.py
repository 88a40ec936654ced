"""How two meet exactly: one stands still at the boundary of a step while the other one runs, and both go on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple, TypeVar

from django.db import connections

from lapse.orders import Attempt, Ruling, Verdict
from lapse.testing.two_at_once import PATIENCE, Standstill, in_thread, shadowed
from tests.django.adopter.threads import wait_until
from tests.django.racing import a_transaction_waits
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder
from tests.django.wirings.money import PRICE, Bank

S = TypeVar("S")
T = TypeVar("T")


@contextmanager
def standing(target: object, method: str) -> Iterator[Standstill]:
    """Let the first caller of the method stand still behind it: its work is done, and nothing is committed."""
    original: Callable[..., Any] = getattr(target, method)
    point = Standstill()

    def stand(*given: Any, **named: Any) -> Any:
        result = original(*given, **named)
        point.stand()
        return result

    with shadowed(target, method, stand):
        try:
            yield point
        finally:
            point.release()


def while_it_stands(point: Standstill, first: Callable[[], S], second: Callable[[], T]) -> tuple[S, T, bool]:
    """Run `first` until it stands, then `second` until it ends or waits for a lock; then let both end.

    Return both results, and whether `second` waited for `first`.
    """
    one = in_thread(first, connections.close_all)
    assert point.reached_by(one), f"it did not come to the point: {one.result(PATIENCE)}"
    two = in_thread(second, connections.close_all)
    wait_until(lambda: a_transaction_waits() or two.done())
    waited = not two.done()
    point.release()
    return one.result(PATIENCE), two.result(PATIENCE), waited


def at_once(*works: Callable[[], T]) -> list[T]:
    """Run all of these in threads that begin at the same moment. Return the results."""
    start = threading.Barrier(len(works), timeout=PATIENCE)

    def run(work: Callable[[], T]) -> T:
        start.wait()
        return work()

    running = [in_thread(partial(run, work), connections.close_all) for work in works]
    return [future.result(PATIENCE) for future in running]


def notify(
    attempt: CupAttempt, amount: Decimal = PRICE, *, back: Decimal | None = None, number: str | None = None
) -> Ruling:
    """Return the bank's report that this amount was paid, of which `back` was refunded."""
    named = Attempt(str(attempt.order_id), attempt.reference, "bank")
    verdict = Verdict.REFUNDED if back == amount else Verdict.PAID
    number = f"bank-{attempt.reference}" if number is None else number
    return Ruling(named, verdict, amount=amount, refunded=back, provider_reference=number)


class Stored(NamedTuple):
    """What the database says about an order: its status, what it brought, the free stock, and its attempts' states."""

    status: str
    turnover: Decimal | int
    stock: int
    attempts: list[str]


def stored(order: CupOrder) -> Stored:
    """Read the order, its product and its attempts."""
    row = CupOrder.objects.get(pk=order.pk)
    states = CupAttempt.objects.filter(order=order).order_by("pk").values_list("state", flat=True)
    return Stored(row.status, row.turnover, Cup.objects.get(pk=row.cup_id).stock, list(states))


def every_yuan_is_known(bank: Bank) -> None:
    """Compare the shop's rows with the bank's books: what was paid, what was refunded, and what the orders brought.

    Money that is not refunded has paid its order, or its attempt is on the work list, or was written off.
    """
    for attempt in CupAttempt.objects.select_related("order"):
        payment = bank.payments.get(attempt.reference)
        came = (payment.paid or Decimal(0)) if payment else Decimal(0)
        back = payment.back if payment else Decimal(0)
        assert (attempt.paid or 0, attempt.refunded) == (came, back), attempt
        if came > back:
            assert attempt.state in ("succeeded", "orphaned", "review", "kept"), attempt
    for order in CupOrder.objects.all():
        paid_by = CupAttempt.objects.filter(order=order, state="succeeded")
        assert (order.status == "paid") == (paid_by.count() == 1), order
        assert order.turnover == sum((attempt.paid or 0) - attempt.refunded for attempt in paid_by), order
