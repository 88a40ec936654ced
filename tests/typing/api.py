"""The public names as a typed program uses them. It is not run: `make lint` checks its types."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, assert_type

from django.db.models import Model, Q, QuerySet

from lapse import (
    MECHANISMS,
    Backoff,
    Buried,
    Bury,
    Claim,
    ClaimHandler,
    ConcurrentWorker,
    Deadline,
    Decision,
    Event,
    Handler,
    Hook,
    Kind,
    LapseError,
    Move,
    Release,
    Settle,
    Stats,
    Timer,
    TimerUnavailable,
    Traits,
    TryLater,
    Worker,
    check_url,
    open_timer,
    traits_of,
)
from lapse.integrations.django import UnpaidOrders, timer, unpaid_orders
from lapse.orders import EXPIRED, Attempt, ClosingGateway, OrderBatch, Ruling, Verdict
from lapse.orders.port import Orders, Outcome, Result

opened = open_timer("memory://", name="orders")
assert_type(opened, Timer)
assert_type(opened.traits, Traits)
assert_type(opened.stats(), Stats)
assert_type(opened.arm([Deadline(key="1001", due_at=datetime.now(UTC))]), None)
assert_type(opened.arm((Deadline("1002", datetime.now(UTC)) for _ in range(2)), only_unknown=True), None)
assert_type(opened.disarm({"1001", "1002"}), None)
assert_type(opened.claim(limit=10, wait=timedelta(seconds=5)), list[Claim])
assert_type(opened.settle(opened.claim()), int)
assert_type(opened.release(opened.claim(), delay=timedelta(seconds=1), forgive=True), int)
assert_type(opened.bury(opened.claim(), reason="no such product"), int)
assert_type(opened.buried(), list[Buried])
assert_type(opened.claim()[0].late_by, timedelta)
with opened as entered:
    assert_type(entered, Timer)


def quiet(claims: list[Claim]) -> None:
    """Settle everything."""
    for claim in claims:
        assert_type(claim.key, str)


def deciding(claims: list[Claim]) -> dict[str, Decision]:
    """Decide differently about each."""
    if not claims:
        raise TryLater("the database is away", after=timedelta(seconds=2))
    choices: list[Decision] = [Settle(), Release(), Move(datetime.now(UTC)), Bury("poison")]
    return dict(zip((claim.key for claim in claims), choices, strict=False))


def watch(event: Event) -> None:
    """Take note of every event."""
    if event.kind is Kind.BURIED:
        assert_type(event.keys, tuple[str, ...])


handlers: list[Handler] = [quiet, deciding]
hooks: list[Hook] = [watch]
assert_type(Event(kind=Kind.IDLE, timer="orders").lateness, tuple[timedelta, ...])


def deliver(claim: Claim) -> Decision | None:
    """Decide about one claim."""
    return None if claim.attempt == 1 else Settle("enough")


one_by_one: ClaimHandler = deliver
concurrent = ConcurrentWorker(opened, one_by_one, concurrency=4, drain=timedelta(seconds=5), hooks=hooks)
assert_type(MECHANISMS["redis"], tuple[str, str])
assert_type(check_url("redis://localhost:6379/0"), None)
assert_type(traits_of("redis").durable, bool)
worker = Worker(
    opened,
    deciding,
    batch=100,
    lease=timedelta(seconds=10),
    backoff=Backoff(first=timedelta(seconds=1)),
    rearm=lambda: 0,
    hooks=hooks,
)
assert_type(worker.run(), None)
assert_type(worker.stop(), None)

failure: LapseError = TimerUnavailable("no answer")


class Purchase(Model):
    """An order of the shop."""

    class Meta:
        """It is in no application that is installed."""

        app_label = "typing"

    def __str__(self) -> str:
        return f"purchase {self.pk}"


class Till:
    """A gateway keeps its protocol without inheriting from it."""

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt."""
        return Ruling(attempt, Verdict.CLOSED)


class Purchases(UnpaidOrders[Purchase]):
    """The adoption, with types."""

    model = Purchase
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[Mapping[str, object]] = {"status": "cancelled"}
    gateways: ClassVar[Mapping[str, ClosingGateway]] = {"till": Till()}

    def on_lapse(self, orders: Sequence[Purchase]) -> None:
        """Return the stock to the shelf."""
        assert_type(orders[0], Purchase)


class PurchasesByReason(UnpaidOrders[Purchase]):
    """Where what is written depends on the reason and the actor."""

    model = Purchase
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    reason_field = "reason"

    def lapsed(self, reason: str, actor: str) -> Mapping[str, object]:
        """Return what is written into a row that is cancelled."""
        return {"status": "cancelled", "by": actor if reason != EXPIRED else ""}

    def closing(self, reason: str, actor: str) -> Mapping[str, object]:
        """Return what is written while the attempts are being closed."""
        return {"status": reason and actor}

    def on_lapse(self, orders: OrderBatch[Purchase]) -> None:
        """Return the stock to the shelf."""
        assert_type(orders[0], Purchase)
        assert_type(orders.reason, str)


purchases = Purchases()
port: Orders = purchases.port()
assert_type(purchases.lapse(["1001"]), dict[str, Result])
assert_type(purchases.lapse(["1001"])["1001"].outcome, Outcome)
assert_type(purchases.lapse_overdue(Q(pk=1), limit=5), dict[str, Result])
listed: QuerySet[Purchase] = QuerySet(Purchase)
assert_type(purchases.fresh(listed), QuerySet[Purchase])
assert_type(purchases.fresh(listed.values_list("pk", flat=True)), QuerySet[Purchase, Any])
assert_type(purchases.cancel([Purchase()], by="buyer 7", reason="buyer"), dict[str, Result])
assert_type(purchases.arm(Purchase(), Purchase()), None)
assert_type(timer(), Timer | None)
unpaid_orders().disarm()
