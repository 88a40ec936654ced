"""Order models of ordinary shapes: each lapses once, is held and is read, on each database."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.db import connections, router
from django.db.models import Model, Q
from django.utils import timezone

from lapse.integrations.django import NotUnpaid, UnpaidOrders
from lapse.orders import Outcome, Sweep
from tests.django.databases import ALIAS, WiringsRouter
from tests.django.wirings.models import Bill, BillLine
from tests.django.wirings.shapes import (
    Assembled,
    Counted,
    Legacy,
    Parcel,
    Part,
    Removable,
    Room,
    Seat,
    SlowBill,
    State,
    Suite,
    Voucher,
)

pytestmark = pytest.mark.usefixtures("database")

PAST, FUTURE = timedelta(minutes=-1), timedelta(minutes=5)


class Shaped(UnpaidOrders[Any]):
    """Most of these orders have a status and a deadline. `given_back` are the keys that the hook has received."""

    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[Any] = {"status": "cancelled"}

    def __init__(self) -> None:
        self.given_back: list[str] = []

    def on_lapse(self, orders: Sequence[Any]) -> None:
        """Note what is given back."""
        self.given_back += [self._queries.key_of(order) for order in orders]


def shaped(of_model: type[Model], **declared: Any) -> Shaped:
    """Return the orders of a model."""
    orders: Shaped = type("ShapedOrders", (Shaped,), {"model": of_model, **declared})()
    return orders


def pass_through(orders: Shaped, first: Any, second: Any, waiting: Any) -> None:
    """Read, lapse, hold and cancel: `first` and `second` are overdue, `waiting` is not due. Each lapses once."""
    keys = [orders._queries.key_of(order) for order in (first, second, waiting)]
    assert [found.key for found in orders.port().overdue(10)] == keys[:2]
    assert sorted(found.key for found in orders.port().deadlines()) == sorted(keys)
    with orders.hold(keys[0]) as held:
        assert held.pk == first.pk
    assert orders.lapse([keys[0], keys[2]])[keys[0]].outcome is Outcome.LAPSED
    swept = Sweep(orders.port().lapsing()).once()
    assert (swept.lapsed, swept.failed) == (1, [])
    outcomes = [result.outcome for result in orders.lapse(keys).values()]
    assert outcomes[2] is Outcome.NOT_DUE
    assert set(outcomes[:2]) <= {Outcome.NOT_UNPAID, Outcome.UNKNOWN}
    with pytest.raises(NotUnpaid), orders.hold(keys[0]):
        pass
    assert orders.cancel([waiting], by="clerk", reason="merchant")[keys[2]].outcome is Outcome.LAPSED
    assert orders.given_back == keys


def due(*deltas: timedelta) -> list[dict[str, Any]]:
    """Return the deadlines of the three orders, oldest first."""
    now = timezone.now()
    return [{"pay_by": now + delta} for delta in deltas or (2 * PAST, PAST, FUTURE)]


def test_a4_two_rows_that_match_are_one_order() -> None:
    """Paging, streaming, locking and cancelling see each order once; a limit counts orders."""
    orders = shaped(Bill, unpaid=Q(status="awaiting", lines__status="pending"), lock=("lines",))
    bills = [Bill.objects.create(**values) for values in due()]
    BillLine.objects.bulk_create(BillLine(bill=bill) for bill in bills for _ in range(3))
    keys = [str(bill.pk) for bill in bills]
    assert [found.key for found in orders.port().overdue(2)] == keys[:2]
    (first,) = orders.port().overdue(1)
    assert [found.key for found in orders.port().overdue(2, after=first)] == keys[1:2]
    assert list(orders.fresh(Bill.objects.none())) == []
    pass_through(orders, *bills)


def test_a4_a_where_that_crosses_the_same_relation_may_mean_another_row() -> None:
    """A sale that wants the stock of one line finds an order whose other line is pending."""
    orders = shaped(Bill, unpaid=Q(status="awaiting", lines__status="pending"), lock=("lines",))
    bills = [Bill.objects.create(**values) for values in due(PAST, PAST)]
    for bill in bills:
        BillLine.objects.create(bill=bill)
    BillLine.objects.create(bill=bills[0], status="packed")
    BillLine.objects.create(bill=bills[0], status="packed")
    assert list(orders.lapse_overdue(Q(lines__status="packed"), limit=5)) == [str(bills[0].pk)]
    assert orders.given_back == [str(bills[0].pk)]


def test_a6_the_status_is_a_foreign_key() -> None:
    """It is written as a key, as an instance or by its column; the hooks see the new row, not one read before."""
    awaiting, cancelled = State.objects.create(name="awaiting"), State.objects.create(name="cancelled")
    seen: list[str] = []

    def on_lapse(_: Shaped, orders: Sequence[Seat]) -> None:
        seen.extend(order.status.name for order in orders)

    for lapsed in ({"status": cancelled.pk}, {"status": cancelled}, {"status_id": cancelled.pk}):
        for unpaid in (Q(status=awaiting), Q(status__name="awaiting")):
            orders = shaped(Seat, unpaid=unpaid, lapsed=lapsed, on_lapse=on_lapse, lock=("status",))
            seat = Seat.objects.create(status=awaiting, pay_by=timezone.now() + PAST)
            assert orders.lapse([str(seat.pk)])[str(seat.pk)].outcome is Outcome.LAPSED
            seat.refresh_from_db()
            assert seat.status == cancelled
    assert seen == ["cancelled"] * 6


def test_a7_inheritance_and_a_join_that_may_be_missing() -> None:
    """Three tables are one order, by its own key or by one of its parent's fields."""
    unpaid = Q(status="awaiting") & (Q(voucher__isnull=True) | Q(voucher__active=True))
    for model, key in ((Room, "pk"), (Suite, "pk"), (Suite, "number")):
        orders = shaped(model, unpaid=unpaid, lock=("voucher",), key=key)
        placed = [model.objects.create(number=f"{model}{key}{n}"[-20:], **values) for n, values in enumerate(due())]
        placed[1].voucher = Voucher.objects.create()
        placed[1].save()
        pass_through(orders, *placed)


def test_a7_a_primary_key_of_two_columns() -> None:
    """The key is a unique field."""
    placed = [Parcel.objects.create(shop=1, number=n, code=f"P{n}", **values) for n, values in enumerate(due())]
    orders = shaped(Parcel, key="code")
    pass_through(orders, *placed)
    parcel = Parcel.objects.create(shop=2, number=1, code="P9", pay_by=timezone.now() + PAST)
    assert [found.status for found in orders.fresh(Parcel.objects.filter(shop=2))] == ["cancelled"]
    assert orders.given_back[-1] == parcel.code


def test_a7_a_base_manager_that_annotates_groups_and_joins() -> None:
    """The hooks receive its annotations. A condition may read one, if each writer locks the order first."""
    for unpaid in (Q(status="awaiting"), Q(status="awaiting", parts__gt=1)):
        placed = [Counted.objects.create(**values) for values in due()]
        Part.objects.bulk_create(Part(order=order) for order in placed for _ in range(2))
        pass_through(shaped(Counted, unpaid=unpaid, writers_lock="self"), *placed)
        Counted.objects.all().delete()


def test_a7_a_base_manager_that_joins_several_rows() -> None:
    """Each order comes once for each of its parts, and is one order."""
    placed = [Counted.objects.create(**values) for values in due()]
    Part.objects.bulk_create(Part(order=order) for order in placed for _ in range(3))
    orders = shaped(Assembled, writers_lock="self")
    assert len(orders.port().overdue(2)) == 2
    pass_through(orders, *(Assembled.objects.filter(pk=order.pk)[0] for order in placed))


def test_a7_orders_that_are_hidden_in_place_of_deleted() -> None:
    """A lapse may hide the order from its manager; a hidden order is no order."""
    placed = [Removable.objects.create(**values) for values in due()]
    hidden = Removable.everything.create(deleted=True, pay_by=timezone.now() + PAST)
    orders = shaped(Removable, lapsed={"deleted": True})
    pass_through(orders, *placed)
    assert orders.lapse([str(hidden.pk)])[str(hidden.pk)].outcome is Outcome.UNKNOWN
    assert Removable.everything.filter(deleted=True, status="awaiting").count() == 4


def test_a7_a_proxy_and_odd_names() -> None:
    """A proxy's rows are in another model's table. Names are quoted."""
    pass_through(shaped(SlowBill), *(SlowBill.objects.create(**values) for values in due()))
    pass_through(shaped(Legacy), *(Legacy.objects.create(**values) for values in due()))


class ReplicaRouter(WiringsRouter):
    """Sends reads to a replica, which lags."""

    def db_for_read(self, model: type[Model], **_: object) -> str | None:
        """Return the alias of the replica for the same models."""
        return "replica" if self.db_for_write(model) else None


def test_a7_reads_that_a_router_sends_to_a_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lapse reads where the orders are written. The replica of this test has received no order yet."""
    file = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "replica.sqlite3")}
    monkeypatch.setitem(
        connections.settings, "replica", connections.configure_settings({"default": {}, "replica": file})["replica"]
    )
    with connections["replica"].schema_editor() as editor:
        editor.create_model(Bill)
        editor.create_model(BillLine)
    monkeypatch.setattr(router, "routers", [ReplicaRouter()])
    try:
        orders = shaped(Bill, unpaid=Q(status="awaiting", lines__status="pending"), lock=("lines",))
        bills = [Bill.objects.create(**values) for values in due()]
        BillLine.objects.bulk_create(BillLine(bill=bill) for bill in bills)
        assert Bill.objects.count() == 0
        pass_through(orders, *bills)
        for read in (Bill.objects.all(), Bill.objects.using("replica"), Bill.objects.order_by("-pk")[:5]):
            bill = Bill.objects.create(pay_by=timezone.now() + PAST)
            BillLine.objects.create(bill=bill)
            assert list(orders.fresh(read)) == []
            assert Bill.objects.using(ALIAS).get(pk=bill.pk).status == "cancelled"
    finally:
        connections["replica"].close()
        del connections["replica"]
        monkeypatch.undo()  # before the fixture of the database puts the usual routers back
