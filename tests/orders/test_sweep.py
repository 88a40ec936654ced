"""The sweep and what it is made of, on orders in memory."""

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim, Deadline
from lapse.engine.decision import Move, Release
from lapse.engine.errors import TimerRefused, TimerUnavailable, TryLater
from lapse.engine.events import Event, Kind
from lapse.orders.cooldown import Cooldown
from lapse.orders.isolate import isolate
from lapse.orders.lapsing import Lapsing
from lapse.orders.on_read import lapse_on_read
from lapse.orders.port import Begun, Outcome, Result
from lapse.orders.sweep import Sweep

PATIENCE = 60.0
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NEVER_AGAIN = Backoff(timedelta(hours=1), timedelta(hours=1))


class ShelfOrders:
    """Overdue orders on a shelf. Some have a fixed outcome, some are poison, and the shelf may be away."""

    def __init__(self, *keys: str) -> None:
        self.overdue_orders = {key: LONG_AGO + timedelta(seconds=place) for place, key in enumerate(keys)}
        self.fixed: dict[str, Result] = {}
        self.poison: set[str] = set()
        self.away = 0
        self.asked: list[str] = []
        self.unreadable_orders: dict[str, str] = {}

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return the overdue orders, oldest first."""
        assert grace >= timedelta(0)
        if self.away:
            self.away -= 1
            raise TryLater("the shelf is away")
        listed = [Deadline(key, due_at) for key, due_at in self.overdue_orders.items()]
        return [order for order in listed if after is None or order.due_at > after.due_at][:limit]

    def deadlines(self) -> Sequence[Deadline]:
        """Return all of them."""
        return self.overdue(len(self.overdue_orders))

    def unreadable(self, limit: int) -> dict[str, str]:
        """Return what a test says."""
        return dict(list(self.unreadable_orders.items())[:limit])

    def begin(self, keys: Sequence[str]) -> Begun:
        """Take them from the shelf."""
        self.asked += keys
        if bad := self.poison.intersection(keys):
            raise RuntimeError(f"poison: {bad}")
        results = {}
        for key in keys:
            results[key] = self.fixed.get(key, Result(Outcome.LAPSED))
            if results[key].outcome is Outcome.LAPSED:
                del self.overdue_orders[key]
        return Begun(results)

    def finish(self, rulings: Sequence[object]) -> Mapping[str, Result]:
        """Fail: no gateway is asked here."""
        raise AssertionError(rulings)


def names(count: int) -> list[str]:
    """Return the names of so many orders."""
    return [f"order-{number}" for number in range(count)]


def test_poison_anywhere_stops_none_of_the_others() -> None:
    """The first, one in the middle and the last are skipped; every other order lapses in the same sweep."""
    orders = ShelfOrders(*names(50))
    orders.poison = {"order-0", "order-23", "order-49"}
    events: list[Event] = []
    swept = Sweep(Lapsing(orders), batch=8, hooks=[events.append]).once()
    assert (swept.lapsed, sorted(swept.failed)) == (47, sorted(orders.poison))
    assert set(orders.overdue_orders) == orders.poison
    assert [event.keys for event in events if event.kind is Kind.FAILED] == [(key,) for key in swept.failed]
    assert [event.count for event in events if event.kind is Kind.SWEPT] == [47]


@pytest.mark.parametrize("stuck", ["poison", "unanswered"])
def test_an_order_that_fails_is_left_alone_for_a_while(stuck: str) -> None:
    """Neither a bad order nor one whose gateway is silent is tried again every second."""
    orders = ShelfOrders("a")
    if stuck == "poison":
        orders.poison = {"a"}
    else:
        orders.fixed = {"a": Result(Outcome.UNANSWERED)}
    sweep = Sweep(Lapsing(orders), backoff=NEVER_AGAIN)
    sweep.once()
    sweep.once()
    assert orders.asked == ["a"]


def test_what_the_sweep_lapsed_is_disarmed() -> None:
    """The timer can forget such an order, also one that it had buried; a timer that fails stops no sweep."""
    disarmed: list[str] = []
    Sweep(Lapsing(ShelfOrders("a", "b")), disarm=disarmed.extend, hooks=()).once()
    assert sorted(disarmed) == ["a", "b"]

    failures: list[Exception] = [TimerUnavailable("no answer"), TimerRefused("another password now")]

    def failing(_: Sequence[str]) -> None:
        raise failures.pop()

    assert Sweep(Lapsing(ShelfOrders("a", "b")), batch=1, disarm=failing, hooks=()).once().lapsed == 2
    assert failures == []


def test_a_locked_order_is_asked_again_at_once() -> None:
    """Another transaction is at work on it, so the lock is short."""
    orders = ShelfOrders("a")
    orders.fixed = {"a": Result(Outcome.LOCKED)}
    sweep = Sweep(Lapsing(orders), backoff=NEVER_AGAIN)
    sweep.once()
    sweep.once()
    assert orders.asked == ["a", "a"]


def test_it_outlives_an_absent_database_and_says_so_once() -> None:
    """Three sweeps fail, the fourth works; there is one message."""
    orders = ShelfOrders(*names(3))
    orders.away = 3
    events: list[Event] = []
    done = threading.Event()

    def hook(event: Event) -> None:
        events.append(event)
        if event.kind is Kind.SWEPT:
            done.set()

    sweep = Sweep(Lapsing(orders), every=timedelta(milliseconds=10), hooks=[hook])
    thread = threading.Thread(target=sweep.run)
    thread.start()
    assert done.wait(PATIENCE)
    sweep.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert [event.kind for event in events if event.kind is not Kind.IDLE] == [Kind.FAILED, Kind.SWEPT]


def test_a_sweep_that_finds_nothing_emits_an_event() -> None:
    """A worker that only sweeps gives a sign of life, however little there is to do."""
    events: list[Event] = []
    Sweep(Lapsing(ShelfOrders()), hooks=[events.append]).once()
    assert [(event.kind, event.timer, event.count) for event in events] == [(Kind.IDLE, "orders", 0)]


def test_stopping_does_not_wait_for_the_next_sweep() -> None:
    """It returns although the next sweep is an hour away."""
    sweep = Sweep(Lapsing(ShelfOrders()), every=timedelta(hours=1))
    thread = threading.Thread(target=sweep.run)
    thread.start()
    sweep.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_an_absent_database_is_not_halved() -> None:
    """TryLater is no order's fault, so it goes through at once."""
    calls = 0

    def lapse(_: Sequence[str]) -> dict[str, Result]:
        nonlocal calls
        calls += 1
        raise TryLater("away")

    with pytest.raises(TryLater):
        isolate(lapse, names(100))
    assert calls == 1


def test_reading_more_than_a_batch_lapses_all_of_it() -> None:
    """Stuck orders in front hide none of the orders behind them, and the reader does not fail."""
    orders = ShelfOrders(*names(20))
    orders.fixed = {key: Result(Outcome.LOCKED) for key in names(6)}
    orders.poison = {"order-6"}
    results = lapse_on_read(Lapsing(orders).lapse, orders.overdue, batch=3)
    assert sum(result.outcome is Outcome.LAPSED for result in results.values()) == 13
    assert set(orders.overdue_orders) == {*names(6), "order-6"}


@pytest.mark.parametrize("stuck", ["poison", "unanswered"])
def test_an_order_that_fails_delays_the_first_reader_only(stuck: str) -> None:
    """Each look may take as long as a gateway hangs, so the next readers see the order as it is."""
    orders = ShelfOrders(*names(5))
    if stuck == "poison":
        orders.poison = {"order-1"}
    else:
        orders.fixed = {"order-1": Result(Outcome.UNANSWERED)}
    cooldown = Cooldown(NEVER_AGAIN)
    lapse_on_read(Lapsing(orders).lapse, orders.overdue, cooldown=cooldown)
    asked = len(orders.asked)
    assert set(orders.overdue_orders) == {"order-1"}
    lapse_on_read(Lapsing(orders).lapse, orders.overdue, cooldown=cooldown)
    assert len(orders.asked) == asked


def claim(key: str, due_at: datetime) -> Claim:
    """Return a claim."""
    now = SYSTEM_CLOCK.now()
    return Claim(key, due_at, 1, 1, now, now)


def test_each_claim_gets_its_decision() -> None:
    """Moved, locked and unanswered orders come back; finished ones are settled because no decision names them."""
    orders = ShelfOrders("done", "moved", "early", "locked", "silent", "paid")
    later = LONG_AGO + timedelta(days=1)
    ahead = timedelta(milliseconds=70)
    orders.fixed = {
        "moved": Result(Outcome.NOT_DUE, later, timedelta(days=1)),
        "early": Result(Outcome.NOT_DUE, LONG_AGO, ahead),
        "locked": Result(Outcome.LOCKED),
        "silent": Result(Outcome.UNANSWERED),
        "paid": Result(Outcome.NOT_UNPAID),
    }
    decisions = Lapsing(orders).handle([claim(key, LONG_AGO) for key in orders.overdue_orders])
    assert sorted(decisions) == ["early", "locked", "moved", "silent"]
    assert decisions["moved"] == Move(later)
    assert decisions["early"] == Release(ahead, forgive=True)  # armed again it would fire at once, by a fast clock
    assert isinstance(decisions["locked"], Release)
    assert decisions["locked"].forgive
    assert isinstance(decisions["silent"], Release)
    assert decisions["silent"].forgive  # that a gateway does not answer is no order's fault, so it is never buried
