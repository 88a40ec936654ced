"""`fresh()` for the lists that pages show, on each database; and what is passed to a shop's orders by mistake."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db import connections
from django.db.models import Count, F, Q, QuerySet, Sum, Window
from django.db.models.functions import RowNumber
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from lapse.integrations.django import UnpaidOrders
from tests.django.databases import ALIAS
from tests.django.wirings.models import Bill, BillLine, Sale

PAST, FUTURE = timedelta(minutes=-1), timedelta(minutes=5)

BILLS = Bill.objects
"""`total` numbers the bills of a test from 0. Those below 4 are overdue."""


class Bills(UnpaidOrders[Bill]):
    """Ordinary orders."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: Sequence[Bill]) -> None:
        """Keep no stock."""


def place() -> list[Bill]:
    """Place four overdue bills and two that are not due, of two lines each."""
    now = timezone.now()
    bills = [BILLS.create(total=n, received=n % 2, pay_by=now + (PAST if n < 4 else FUTURE)) for n in range(6)]
    BillLine.objects.bulk_create(BillLine(bill=bill) for bill in bills for _ in range(2))
    return bills


def lapsed() -> set[int]:
    """Return the numbers of the bills that lapsed."""
    return set(BILLS.filter(status="cancelled").values_list("total", flat=True))


LISTS: dict[str, tuple[Callable[[], QuerySet[Any, Any]], set[int]]] = {
    "a page": (lambda: BILLS.order_by("-pk")[1:4], {2, 3}),
    "a page of distinct rows": (lambda: BILLS.filter(lines__status="pending").distinct().order_by("pk")[:2], {0, 1}),
    "the rest": (lambda: BILLS.order_by("pk")[2:], {2, 3}),
    "another page": (lambda: BILLS.order_by("lines__status", "-pk")[:6], {3}),
    "using": (lambda: BILLS.using(ALIAS).filter(total__lt=2), {0, 1}),
    "values": (lambda: BILLS.filter(total=1).values("status", "total"), {1}),
    "a page of values": (lambda: BILLS.order_by("pk").values("status")[:1], {0}),
    "values_list": (lambda: BILLS.filter(total=1).values_list("status", flat=True), {1}),
    "distinct": (lambda: BILLS.filter(total__gt=2).values("status").distinct(), {3}),
    "a page of distinct values": (lambda: BILLS.order_by("status").values("status").distinct()[:1], {0, 1, 2, 3}),
    "annotate": (lambda: BILLS.annotate(n=Count("lines")).filter(n=2, total__gt=0), {1, 2, 3}),
    "a page of annotate": (lambda: BILLS.annotate(n=Count("lines")).order_by("-n", "total")[:2], {0, 1}),
    "annotate, then values": (lambda: BILLS.annotate(n=Count("lines")).filter(n=2, total=3).values("n"), {3}),
    "groups": (lambda: BILLS.filter(received=1).values("status").annotate(n=Count("pk")).order_by("status"), {1, 3}),
    "groups with a condition": (
        lambda: BILLS.filter(received=1).values("received").annotate(all=Sum("total")).filter(all__gt=6),
        {1, 3},
    ),
    "a page of groups": (lambda: BILLS.values("received").annotate(n=Count("pk")).order_by("-n")[:1], {0, 1, 2, 3}),
    "window": (lambda: BILLS.annotate(n=Window(RowNumber(), order_by=F("pk").asc())).filter(total=2), {2}),
    "a union": (lambda: BILLS.filter(total=0).union(BILLS.filter(total=2)), {0, 2}),
    "a page of a union": (lambda: BILLS.filter(total=0).union(BILLS.filter(total=2)).order_by("pk")[:1], {0, 2}),
    "a union of values": (lambda: BILLS.filter(total=0).values("status").union(BILLS.values("status")), {0, 1, 2, 3}),
    "an intersection": (lambda: BILLS.filter(total__lt=2).intersection(BILLS.filter(received=1)), {0, 1, 3}),
    "nothing": (BILLS.none, set()),
    "nothing in a union": (lambda: BILLS.none().union(BILLS.filter(total=1)), {1}),
    "only": (lambda: BILLS.only("status").filter(total=1), {1}),
    "defer": (lambda: BILLS.defer("status").filter(total=1), {1}),
    "order_by": (lambda: BILLS.filter(total__lt=2).order_by("status", F("total").desc()), {0, 1}),
    "reverse": (lambda: BILLS.filter(total__lt=2).reverse(), {0, 1}),
    "dates": (lambda: BILLS.filter(total=1).datetimes("pay_by", "hour"), {1}),
    "joined": (lambda: BILLS.prefetch_related("lines").filter(lines__bill__total=1), {1}),
    "extra": (lambda: BILLS.extra(where=["total = 1"], order_by=["-total"]), {1}),
}


def test_a9_lists_that_pages_show(database: str) -> None:
    """Each shows no overdue order as unpaid. `expected` are the numbers of the orders that its reading lapses."""
    del database
    for name, (read, expected) in LISTS.items():
        place()
        shown = Bills().fresh(read())
        assert lapsed() == expected, name
        assert list(shown) == list(read()), name
        BILLS.all().delete()


def test_a9_where_nothing_is_overdue_a_list_costs_one_query(database: str) -> None:
    """A slice costs one more on databases without LIMIT in a subquery."""
    place()
    Bills().fresh(BILLS.all())
    for read in (BILLS.all(), BILLS.filter(total__gt=1).values("status"), BILLS.order_by("pk")[:3]):
        with CaptureQueriesContext(connections[ALIAS]) as queries:
            Bills().fresh(read)
        assert len(queries) == (2 if database == "mariadb" and read.query.is_sliced else 1)


def test_a9_rows_that_are_locked_for_a_change(database: str) -> None:
    """A queryset with `select_for_update` may be passed outside of a transaction: it is not evaluated there."""
    del database
    place()
    Bills().fresh(BILLS.select_for_update().filter(total=1))
    assert lapsed() == {1}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a9_the_first_row_of_each_group(database: str) -> None:
    """DISTINCT ON keeps its order, which says which row is read."""
    del database
    place()
    Bills().fresh(BILLS.order_by("received", "-total").filter(total__lt=4).distinct("received"))
    assert lapsed() == {2, 3}


def test_a9_what_cannot_be_read_says_what_to_pass() -> None:
    """No database is asked."""
    for wrong in (
        BILLS.raw("SELECT * FROM bills"),
        Sale.objects.all(),
        BILLS.values("pk").union(Sale.objects.values("pk")),
        BILLS,
        [Bill(pk=1)],
        Bill(pk=1),
        Bill,
        "1001",
        None,
    ):
        with pytest.raises(TypeError, match=r"fresh\(\) takes a queryset of Bill, such as fresh\(Bill\.objects"):
            Bills().fresh(wrong)  # type: ignore[arg-type] # the mistake


def test_a13_what_is_no_order_and_no_key_says_what_to_pass() -> None:
    """Arming, disarming, lapsing, cancelling and holding. No database is asked."""
    bill, sale = Bill(pk=1), Sale(pk=1)
    orders: Any = Bills()

    def cancel(what: Any) -> None:
        orders.cancel(what, by="clerk", reason="merchant")

    wrong: list[tuple[Callable[[Any], object], list[Any], str]] = [
        (
            orders.arm,
            [BILLS.all(), [bill], sale, 12, "12", None, Bill(), Bill],
            r"arm\(\*orders\) takes instances of Bill",
        ),
        (orders.disarm, [BILLS.all(), [bill], sale, "12", Bill()], r"disarm\(\*orders\) takes instances of Bill"),
        (
            orders.lapse,
            [[bill], bill, [12345], 12345, "1001", b"1001", None, [b"1"], iter([1]), Bill],
            r"lapse\(\) takes a list of keys.*lapse\(\[str\(order\.pk\)\]\); got",
        ),
        (cancel, [bill, ["12"], "12", 12, None, [sale], [Bill()], [[bill]]], r"cancel\(orders, by.*instances of Bill"),
        (orders.hold, [BILLS.all(), [bill], sale, 12, None, Bill()], r"hold\(order\) takes instances of Bill"),
    ]
    for call, values, message in wrong:
        for value in values:
            with pytest.raises(TypeError, match=message):
                call(value)


@pytest.mark.usefixtures("database")
def test_a13_keys_and_orders_may_come_from_a_generator() -> None:
    """They are read once."""
    bills = place()
    assert len(Bills().lapse(str(bill.pk) for bill in bills[:2])) == 2  # type: ignore[arg-type] # a collection is asked for
    assert len(Bills().cancel((bill for bill in bills[2:]), by="clerk", reason="merchant")) == 4
    assert len(lapsed()) == 6
