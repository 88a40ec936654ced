"""A real state machine with protected fields (A5), and what a lapse writes beside the row (A12)."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db.models import Q
from django.db.models.signals import post_save
from django.utils import timezone

from lapse.integrations.django import NotUnpaid, UnpaidOrders
from lapse.orders import Outcome, Sweep
from tests.django.wirings.machines import HistoricalMachined, Keyed, Machined, fsm
from tests.django.wirings.shapes import State

pytestmark = pytest.mark.usefixtures("database")

Table: Any = Machined
"""The stubs do not know its managers."""
assert HistoricalMachined  # the database has its table because this module names it


class Declared(UnpaidOrders[Any]):
    """The status is written by one update. `seen` is what the hook sees."""

    model: ClassVar[type[Any]] = Machined
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[Any] = {"status": "cancelled"}

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_lapse(self, orders: Sequence[Any]) -> None:
        """Note the statuses."""
        self.seen += [str(order.status) for order in orders]


class ByMachine(Declared):
    """The machine's own method, and a save."""

    lapsed: ClassVar[Any] = {}

    def transition(self, order: Any) -> None:
        """Cancel as the shop does everywhere."""
        order.cancel()
        order.save()


def overdue(count: int = 1) -> list[Any]:
    """Place orders that are overdue."""
    return [Table.objects.create(pay_by=timezone.now() - timedelta(minutes=1)) for _ in range(count)]


def status(order: Any) -> str:
    """Return the status in the database."""
    return str(type(order).objects.values_list("status", flat=True).get(pk=order.pk))


@pytest.fixture
def saved() -> Iterator[list[Any]]:
    """Count the signals that a save sends."""
    received: list[Any] = []

    def receive(instance: Any, **_: object) -> None:
        received.append(instance.pk)

    post_save.connect(receive, Machined)
    yield received
    post_save.disconnect(receive, Machined)


@pytest.mark.parametrize("kind", [Declared, ByMachine])
def test_a5_a_protected_field_lapses(kind: Callable[[], Declared]) -> None:
    """By values and by the machine's own method; paid orders stay, also those that `hold` paid."""
    first, second, paid = overdue(3)
    orders = kind()
    with orders.hold(paid) as held:
        held.pay()
        held.save()
    swept = Sweep(orders.port().lapsing(), hooks=()).once()
    assert (swept.lapsed, swept.failed) == (2, [])
    assert [status(order) for order in (first, second, paid)] == ["cancelled", "cancelled", "paid"]
    assert orders.seen == ["cancelled"] * 2
    with pytest.raises(NotUnpaid), orders.hold(first):
        pass


def test_a5_the_machine_sends_its_signal_once() -> None:
    """A machine that refuses keeps its own order only."""
    first, second = overdue(2)
    moved: list[Any] = []

    def receive(instance: Any, target: str, **_: object) -> None:
        moved.append((instance.pk, target))

    class Refuses(ByMachine):
        def transition(self, order: Any) -> None:
            if order.pk == first.pk:
                order.pay()  # and from there it cannot be cancelled
            super().transition(order)

    fsm.signals.post_transition.connect(receive, Machined)
    try:
        swept = Sweep(Refuses().port().lapsing(), hooks=()).once()
    finally:
        fsm.signals.post_transition.disconnect(receive, Machined)
    assert (swept.lapsed, swept.failed) == (1, [str(first.pk)])
    assert (status(first), status(second)) == ("awaiting", "cancelled")
    assert [target for pk, target in moved if pk == second.pk] == ["cancelled"]


def test_a5_a_protected_foreign_key_lapses() -> None:
    """Of such a field the machine gives the key. The hook sees the new one."""
    awaiting, cancelled = State.objects.create(name="awaiting"), State.objects.create(name="cancelled")

    class KeyedOrders(Declared):
        model = Keyed
        unpaid = Q(status=awaiting)
        lapsed: ClassVar[Any] = {"status": cancelled.pk}

    keyed: Any = Keyed
    order = keyed.objects.create(status=awaiting.pk, pay_by=timezone.now() - timedelta(minutes=1))
    orders = KeyedOrders()
    assert orders.lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.LAPSED
    assert (orders.seen, status(order)) == ([str(cancelled.pk)], str(cancelled.pk))


def test_a12_declared_values_are_written_as_by_an_update(saved: list[Any]) -> None:
    """As `QuerySet.update()`: no signal, no row of history, and `auto_now` stays."""
    (order,) = overdue()
    saved.clear()
    before = order.changed_at
    assert Sweep(Declared().port().lapsing(), hooks=()).once().lapsed == 1
    assert status(order) == "cancelled"
    assert saved == []
    assert [row.status for row in order.history.all()] == ["awaiting"]
    assert Table.objects.get(pk=order.pk).changed_at == before


def test_a12_a_shops_own_transition_writes_them_all(saved: list[Any]) -> None:
    """`transition` with `save()`: one signal, one row of history, and `auto_now` moves."""
    (order,) = overdue()
    saved.clear()
    before = order.changed_at
    assert Sweep(ByMachine().port().lapsing(), hooks=()).once().lapsed == 1
    assert saved == [order.pk]
    assert [row.status for row in order.history.order_by("history_id")] == ["awaiting", "cancelled"]
    assert Table.objects.get(pk=order.pk).changed_at > before


def test_a12_a_transition_that_is_rolled_back_leaves_no_history() -> None:
    """The history is in the same transaction."""
    (order,) = overdue()

    class Fails(ByMachine):
        def on_lapse(self, orders: Sequence[Any]) -> None:
            raise RuntimeError(f"the stock of {orders} cannot be given back")

    assert Sweep(Fails().port().lapsing(), hooks=()).once().failed == [str(order.pk)]
    assert [row.status for row in order.history.all()] == ["awaiting"]
