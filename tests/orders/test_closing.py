"""Step two leaves the worker's thread: orders whose gateway hangs delay no other order, and no late answer is lost."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from lapse import Deadline, Release, TryLater
from lapse.engine.backoff import Backoff
from lapse.engine.deadline import Claim
from lapse.orders import Attempt, Begun, Closing, GatewayCalls, Lapsing, Outcome, Result, Ruling, Verdict
from lapse.orders.closing import MARGIN
from lapse.orders.isolate import Isolated
from lapse.testing.clock import ManualClock
from lapse.testing.two_at_once import in_thread
from tests.orders.gateways import PATIENCE, SlowTill, hanging, wait_until

T = TypeVar("T")

DUE = datetime(2024, 1, 1, tzinfo=UTC)
NOT_AT_ALL, HOUR = timedelta(0), timedelta(hours=1)
PATIENTLY = timedelta(seconds=PATIENCE)


class Basket:
    """Overdue orders in memory, each with open attempts. `begin` and `finish` do what the port says."""

    def __init__(self, **attempts: Sequence[str]) -> None:
        self.open = {key: [self.attempt(key, gateway) for gateway in names] for key, names in attempts.items()}
        self.states = dict.fromkeys(attempts, "unpaid")
        self.finished: list[tuple[str, tuple[Ruling, ...]]] = []
        self.batches: list[tuple[str, ...]] = []
        self.errors: list[Exception] = []
        self.bad: set[str] = set()
        self.in_step_three = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.lock = threading.Lock()

    @staticmethod
    def attempt(key: str, gateway: str) -> Attempt:
        """Return an attempt."""
        return Attempt(key, f"{key}-{gateway}", gateway)

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return the unpaid orders."""
        del grace, after
        return [Deadline(key, DUE) for key, state in self.states.items() if state == "unpaid"][:limit]

    def deadlines(self) -> Iterator[Deadline]:
        """Yield the unpaid orders."""
        yield from self.overdue(1000)

    def unreadable(self, limit: int) -> Mapping[str, str]:
        """Return nothing."""
        del limit
        return {}

    def begin(self, keys: Sequence[str]) -> Begun:
        """Lapse the orders without attempts."""
        results, attempts = {}, []
        with self.lock:
            for key in keys:
                if self.states[key] != "unpaid":
                    results[key] = Result(Outcome.NOT_UNPAID)
                elif self.open[key]:
                    attempts += self.open[key]
                else:
                    self.states[key] = "cancelled"
                    results[key] = Result(Outcome.LAPSED)
        return Begun(results, attempts)

    def finish(self, rulings: Sequence[Ruling]) -> Mapping[str, Result]:
        """Pay, lapse or keep each order, and note the call."""
        keys = tuple(dict.fromkeys(ruling.attempt.order_key for ruling in rulings))
        self.in_step_three.set()
        assert self.go_on.wait(PATIENCE)
        if self.errors:
            raise self.errors.pop()
        if self.bad.intersection(keys):
            raise LookupError("no stock table")
        with self.lock:
            self.batches.append(keys)
            return {key: self._finish(key, [each for each in rulings if each.attempt.order_key == key]) for key in keys}

    def _finish(self, key: str, rulings: Sequence[Ruling]) -> Result:
        self.finished.append((key, tuple(rulings)))
        if self.states[key] != "unpaid":
            return Result(Outcome.NOT_UNPAID)
        if any(ruling.verdict is Verdict.PAID for ruling in rulings):
            self.states[key] = "paid"
            return Result(Outcome.PAID)
        if not all(ruling.verdict.ended for ruling in rulings):
            return Result(Outcome.UNANSWERED)
        self.states[key] = "cancelled"
        return Result(Outcome.LAPSED)


def claim(key: str) -> Claim:
    """Return a claim on the order."""
    return Claim(key=key, due_at=DUE, token=1, attempt=1, claimed_at=DUE, leased_until=DUE)


def outcomes(results: Mapping[str, Result]) -> dict[str, Outcome]:
    """Return the outcomes alone."""
    return {key: result.outcome for key, result in results.items()}


def at_once(call: Callable[[], T]) -> T:
    """Return the result of a call that does not wait for the gateway."""
    called = in_thread(call, lambda: None)
    assert wait([called], PATIENCE).done, "it waits for the gateway"
    return called.result()


def threads_of(gateway: str) -> list[threading.Thread]:
    """Return the threads that call this gateway, or finish an order after a call."""
    return [thread for thread in threading.enumerate() if thread.name == f"lapse-gateway-{gateway}"]


def test_a_handler_never_waits_for_a_gateway() -> None:
    """The order without an attempt has lapsed and the handler has returned while the gateway still hangs."""
    orders = Basket(slow=["till"], quick=[])
    with hanging() as till:
        lapsing = Lapsing(orders, {"till": till}, closing=Closing(GatewayCalls(budget=HOUR)))
        decisions = at_once(lambda: lapsing.handle([claim("slow"), claim("quick")]))
        assert orders.states == {"slow": "unpaid", "quick": "cancelled"}
        released = decisions.pop("slow")
        assert isinstance(released, Release)
        assert released.forgive  # the gateway is away: never poison
        assert released.delay == lapsing.closing.calls.budget + MARGIN
        assert decisions == {}
        wait_until(lambda: till.called)
        again = at_once(lambda: lapsing.handle([claim("slow")]))["slow"]
        assert isinstance(again, Release)
        assert again.forgive
        assert till.called == ["slow-till"]  # an order in flight is not asked about again
    wait_until(lambda: orders.states["slow"] == "cancelled")


def test_what_became_of_an_order_in_the_background_is_reported() -> None:
    """So that a service can disarm it. Each order is reported once."""
    orders = Basket(a=["till"], b=["till"])
    reported: list[Isolated] = []
    with hanging() as till:
        till.verdicts["b-till"] = Verdict.PAID
        lapsing = Lapsing(orders, {"till": till})
        lapsing.handle([claim("a"), claim("b")], reported.append)
        assert reported == []
    assert lapsing.closing.drain(PATIENCE)
    found = {key: result.outcome for each in reported for key, result in each.results.items()}
    assert found == {"a": Outcome.LAPSED, "b": Outcome.PAID}
    assert sorted(key for key, _ in orders.finished) == ["a", "b"]


def test_an_answer_after_the_budget_still_pays() -> None:
    """The caller has returned long ago, and the circuit has opened: money is never dropped."""
    clock = ManualClock()
    orders = Basket(**{f"k{number}": ["till"] for number in range(6)})
    with hanging() as till:
        till.verdicts = {f"k{number}-till": Verdict.PAID for number in range(6)}
        calls = GatewayCalls(clock=clock)
        lapsing = Lapsing(orders, {"till": till}, closing=Closing(calls, clock=clock))
        assert set(outcomes(lapsing.lapse(list(orders.states), wait=NOT_AT_ALL)).values()) == {Outcome.UNANSWERED}
        wait_until(lambda: len(till.called) == 6)
        clock.advance(timedelta(hours=1))
        assert calls.wait_of("till") > 0
    assert calls.drain(PATIENCE)
    assert set(orders.states.values()) == {"paid"}


def test_money_does_not_wait_for_the_other_gateway() -> None:
    """One attempt is paid, and the other gateway hangs: the order is paid at once. The other answer follows."""
    orders = Basket(a=["till", "bank"])
    till = SlowTill(hangs=False)
    till.verdicts["a-till"] = Verdict.PAID
    with hanging() as bank:
        lapsing = Lapsing(orders, {"till": till, "bank": bank})
        lapsing.lapse(["a"], wait=NOT_AT_ALL)
        wait_until(lambda: till.called and not threads_of("till"))
        assert orders.states["a"] == "paid"  # the till's own thread has finished the order, and has ended
        assert len(orders.finished) == 1
    assert lapsing.closing.drain(PATIENCE)
    assert [[ruling.attempt.gateway for ruling in rulings] for _, rulings in orders.finished] == [
        ["till"],
        ["till", "bank"],
    ]


def test_who_waits_runs_step_three_and_nobody_else() -> None:
    """The answer comes while the caller waits: one step three, in the caller's thread, for all orders."""
    orders = Basket(a=["till"], b=["till"])
    reported: list[Isolated] = []
    lapsing = Lapsing(orders, {"till": SlowTill(hangs=False)})
    results = lapsing.lapse(["a", "b"], wait=PATIENTLY, done=reported.append)
    assert outcomes(results) == {"a": Outcome.LAPSED, "b": Outcome.LAPSED}
    assert lapsing.closing.drain(PATIENCE)
    assert [sorted(batch) for batch in orders.batches] == [["a", "b"]]
    assert reported == []


def test_who_waits_gets_what_is_there_when_the_time_is_over() -> None:
    """One order's gateway answers and the other's hangs: the first is lapsed, the second finished in the background."""
    orders = Basket(a=["till"], b=["bank"])
    with hanging() as bank:
        lapsing = Lapsing(orders, {"till": SlowTill(hangs=False), "bank": bank})
        results = lapsing.lapse(["a", "b"], wait=timedelta(milliseconds=300))
        assert outcomes(results) == {"a": Outcome.LAPSED, "b": Outcome.UNANSWERED}
        assert bank.called == ["b-bank"]
    assert lapsing.closing.drain(PATIENCE)
    assert orders.states == {"a": "cancelled", "b": "cancelled"}


def test_a_second_caller_does_not_wait_for_an_order_in_flight() -> None:
    """With a patience of an hour, it returns while the gateway still hangs."""
    orders = Basket(a=["till"])
    with hanging() as till:
        lapsing = Lapsing(orders, {"till": till})
        lapsing.lapse(["a"], wait=NOT_AT_ALL)
        assert outcomes(at_once(lambda: lapsing.lapse(["a"], wait=HOUR))) == {"a": Outcome.UNANSWERED}
        assert not orders.in_step_three.is_set()


def test_an_unclear_answer_makes_the_order_wait_longer_each_time() -> None:
    """Not asked again at once. The time to try again is in the result, and a timer's retry follows it."""
    clock = ManualClock()
    orders = Basket(a=["till"])
    till = SlowTill(hangs=False)
    till.verdicts["a-till"] = Verdict.UNKNOWN
    backoff = Backoff(first=timedelta(seconds=1), most=timedelta(minutes=1))
    lapsing = Lapsing(orders, {"till": till}, closing=Closing(GatewayCalls(clock=clock), backoff=backoff, clock=clock))
    waits = []
    for tries in range(1, 9):
        result = lapsing.lapse(["a"], wait=PATIENTLY)["a"]
        assert lapsing.closing.drain(PATIENCE)
        assert len(till.called) == tries
        assert result.outcome is Outcome.UNANSWERED
        assert result.due_in is not None
        waits.append(result.due_in)
        assert lapsing.lapse(["a"], wait=PATIENTLY)["a"].outcome is Outcome.UNANSWERED
        assert len(till.called) == tries
        again = lapsing.handle([claim("a")])["a"]
        assert isinstance(again, Release)
        assert again.delay is not None
        assert abs(again.delay - result.due_in) < timedelta(milliseconds=1)
        clock.advance(result.due_in)
    assert waits[0] <= timedelta(seconds=1)
    assert timedelta(seconds=30) <= waits[-1] <= timedelta(minutes=1)


def test_a_person_asks_again_at_once_and_joins_a_call_under_way() -> None:
    """A person who insists need not wait, and makes no second call while one is under way."""
    orders = Basket(a=["till"])
    closing = Closing(GatewayCalls())
    with hanging() as till:
        timer = Lapsing(orders, {"till": till}, closing=closing)
        person = Lapsing(orders, {"till": till}, closing=closing, cause="buyer", insist=True)
        timer.lapse(["a"], wait=NOT_AT_ALL)
        wait_until(lambda: till.called)
        for _ in range(3):
            assert outcomes(person.lapse(["a"], wait=timedelta(milliseconds=20))) == {"a": Outcome.UNANSWERED}
        assert till.called == ["a-till"]
    assert closing.drain(PATIENCE)
    assert len(orders.finished) == 2  # one for the timer, and one for the person however often the person called
    orders.states["a"] = "unpaid"
    till.verdicts["a-till"] = Verdict.UNKNOWN
    person.lapse(["a"], wait=PATIENTLY)
    person.lapse(["a"], wait=PATIENTLY)
    assert len(till.called) == 3


def test_orders_whose_rulings_come_during_step_three_share_the_next_one() -> None:
    """The first transaction stands still; 20 orders are ready meanwhile, and one transaction finishes them."""
    orders = Basket(**{f"k{number}": ["till"] for number in range(21)})
    orders.go_on.clear()
    till = SlowTill(hangs=False)
    lapsing = Lapsing(orders, {"till": till}, closing=Closing(GatewayCalls(threads=3)))
    lapsing.lapse(["k0"], wait=NOT_AT_ALL)
    assert orders.in_step_three.wait(PATIENCE)
    lapsing.lapse([f"k{number}" for number in range(1, 21)], wait=NOT_AT_ALL)
    wait_until(lambda: len(till.called) == 21)
    orders.go_on.set()
    assert lapsing.closing.drain(PATIENCE)
    assert set(orders.states.values()) == {"cancelled"}
    assert len(orders.batches) < 21
    assert max(len(batch) for batch in orders.batches) > 1


def test_an_order_whose_step_three_raises_stops_no_other_and_counts_as_an_attempt() -> None:
    """The error is reported, and the next claim of the order is released with it, so that it is buried in the end."""
    orders = Basket(good=["till"], bad=["till"])
    orders.bad = {"bad"}
    reported: list[Isolated] = []
    lapsing = Lapsing(orders, {"till": SlowTill(hangs=False)})
    lapsing.handle([claim("good"), claim("bad")], reported.append)
    assert lapsing.closing.drain(PATIENCE)
    assert orders.states == {"good": "cancelled", "bad": "unpaid"}
    assert {key for each in reported for key in each.failed} == {"bad"}
    assert lapsing.handle([claim("bad")]) == {"bad": Release(reason="LookupError: no stock table")}
    released = lapsing.handle([claim("bad")])["bad"]
    assert isinstance(released, Release)
    assert released.forgive


def test_a_database_that_is_away_makes_the_orders_wait(caplog: pytest.LogCaptureFixture) -> None:
    """No order is at fault; the attempts stay open, and are asked about again."""
    orders = Basket(a=["till"])
    orders.errors = [TryLater("the database is away")]
    reported: list[Isolated] = []
    lapsing = Lapsing(orders, {"till": SlowTill(hangs=False)})
    lapsing.handle([claim("a")], reported.append)
    assert lapsing.closing.drain(PATIENCE)
    assert [(outcomes(each.results), each.failed) for each in reported] == [({"a": Outcome.UNANSWERED}, {})]
    assert "cannot be stored: the database is away" in caplog.text
    released = lapsing.handle([claim("a")])["a"]
    assert isinstance(released, Release)
    assert released.forgive


def test_a_circuit_that_is_open_costs_no_step_three() -> None:
    """No gateway was called, so there is nothing to record; the retry waits for the probe."""
    clock = ManualClock()
    calls = GatewayCalls(clock=clock)
    orders = Basket(**{f"k{number}": ["till"] for number in range(6)})
    till = SlowTill(hangs=False)
    till.verdicts = {f"k{number}-till": Verdict.UNKNOWN for number in range(6)}
    lapsing = Lapsing(orders, {"till": till}, closing=Closing(calls, clock=clock))
    lapsing.lapse([f"k{number}" for number in range(5)], wait=PATIENTLY)
    assert calls.drain(PATIENCE)
    steps = len(orders.finished)
    result = lapsing.lapse(["k5"], wait=PATIENTLY)["k5"]
    assert (result.outcome, result.due_in) == (Outcome.UNANSWERED, timedelta(seconds=calls.wait_of("till")))
    lapsing.handle([claim("k5")])
    assert calls.drain(PATIENCE)
    assert (len(till.called), len(orders.finished)) == (5, steps)


def test_equal_keys_of_two_tenants_are_two_orders() -> None:
    """The first tenant's order is in flight, and the second tenant's lapses."""
    first, second = Basket(a=["till"]), Basket(a=["bank"])
    closing = Closing(GatewayCalls())
    with hanging() as till:
        gateways = {"till": till, "bank": SlowTill(hangs=False)}
        Lapsing(first, gateways, closing=closing, scope="tea").lapse(["a"], wait=NOT_AT_ALL)
        other = Lapsing(second, gateways, closing=closing, scope="rice")
        assert outcomes(other.lapse(["a"], wait=PATIENTLY)) == {"a": Outcome.LAPSED}
