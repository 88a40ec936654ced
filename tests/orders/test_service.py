"""The service: one assembly of worker, sweep and re-arming, without any framework."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

import pytest

from lapse import ConfigError, Deadline, Event, Kind, Timer, TimerRefused, TimerUnavailable, open_timer
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.orders import Begun, Lapsing, Outcome, Result, Service, ServiceOptions

LONG = 60.0
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


class ListedOrders:
    """Unpaid orders with their deadlines, by this machine's clock."""

    def __init__(self, **due_in: timedelta) -> None:
        now = SYSTEM_CLOCK.now()
        self.unpaid = {key: now + left for key, left in due_in.items()}
        self.lapsed: dict[str, tuple[datetime, str]] = {}
        self.lock = threading.Lock()

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return those that are due."""
        end = SYSTEM_CLOCK.now() - grace
        with self.lock:
            found = sorted((due_at, key) for key, due_at in self.unpaid.items() if due_at <= end)
        return [Deadline(key, due_at) for due_at, key in found if after is None or due_at > after.due_at][:limit]

    def deadlines(self) -> Iterator[Deadline]:
        """Yield all of them."""
        with self.lock:
            found = [Deadline(key, due_at) for key, due_at in self.unpaid.items()]
        yield from found

    def unreadable(self, limit: int) -> Mapping[str, str]:
        """Return nothing: every order can be read."""
        del limit
        return {}

    def begin(self, keys: Sequence[str]) -> Begun:
        """Lapse those that are due, and note in which thread."""
        now = SYSTEM_CLOCK.now()
        results = {}
        with self.lock:
            for key in keys:
                due = key in self.unpaid and self.unpaid[key] <= now
                if due:
                    del self.unpaid[key]
                    self.lapsed[key] = (now, threading.current_thread().name)
                results[key] = Result(Outcome.LAPSED if due else Outcome.NOT_UNPAID)
        return Begun(results)

    def finish(self, rulings: Sequence[object]) -> Mapping[str, Result]:
        """Fail: there is no gateway here."""
        raise AssertionError(rulings)


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again until it is so."""
    end = SYSTEM_CLOCK.monotonic() + LONG
    while not condition():
        assert SYSTEM_CLOCK.monotonic() < end, "it did not come to pass in time"
        SYSTEM_CLOCK.sleep(0.01)


@contextmanager
def running(service: Service) -> Iterator[threading.Thread]:
    """Run the service in a thread, and stop it."""
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield thread
    finally:
        service.stop()
        thread.join(LONG)
        assert not thread.is_alive()


def test_a_worker_a_sweep_and_arming_are_one_service() -> None:
    """An order that no timer knows is armed and lapses by the worker, on time; the sweep is for the others."""
    orders = ListedOrders(overdue=-HOUR, soon=SECOND / 2, later=HOUR)
    ended: list[str] = []
    timer = open_timer("memory://", name="orders")
    options = ServiceOptions(grace=HOUR / 2, sweep_beside_timer=SECOND / 20, arm_batch=1)
    service = Service(
        Lapsing(orders), lambda: timer, options=options, hooks=(), after_thread=lambda: ended.append(_thread())
    )
    with running(service):
        wait_until(lambda: orders.lapsed.keys() == {"overdue", "soon"})
        assert timer.stats().pending >= 1
        wait_until(lambda: "lapse-rearm" in ended)
    assert orders.lapsed["soon"][1] == "lapse-orders"  # the sweep leaves it to the timer for the grace
    assert list(orders.unpaid) == ["later"]
    assert sorted(ended) == ["lapse-orders", "lapse-rearm", "lapse-sweep"]


@pytest.mark.parametrize(("grace", "left"), [(HOUR, True), (timedelta(0), False)])
def test_beside_a_timer_the_sweep_leaves_an_order_alone_for_the_grace(
    monkeypatch: pytest.MonkeyPatch, grace: timedelta, left: bool
) -> None:
    """Here the timer does not know the order: only the grace decides whether a sweep takes it."""
    orders = ListedOrders(due=-SECOND)
    monkeypatch.setattr(orders, "deadlines", lambda: iter(()))
    events: list[Event] = []
    options = ServiceOptions(sweep_beside_timer=SECOND / 20, grace=grace)
    opener = partial(open_timer, "memory://", name="orders")
    with running(Service(Lapsing(orders), opener, options=options, hooks=[events.append])):
        wait_until(lambda: [event.kind for event in events].count(Kind.IDLE) >= 5)  # sweeps that found nothing
    assert ("due" in orders.unpaid) is left


def test_the_sweep_works_while_the_timers_server_does_not_answer() -> None:
    """The timer is opened as often as it takes, and the loss is reported once."""
    orders = ListedOrders(overdue=-HOUR)
    events: list[Event] = []
    answers = threading.Event()

    def open_when_it_answers() -> Timer:
        if not answers.is_set():
            raise TimerUnavailable("connection refused")
        return open_timer("memory://", name="orders")

    service = Service(Lapsing(orders), open_when_it_answers, hooks=[events.append])
    with running(service):
        wait_until(lambda: "overdue" in orders.lapsed)
        wait_until(lambda: Kind.TIMER_LOST in [event.kind for event in events])
        orders.unpaid["next"] = SYSTEM_CLOCK.now()
        answers.set()
        wait_until(lambda: "next" in orders.lapsed)
        wait_until(lambda: Kind.STARTED in [event.kind for event in events])
    assert [event.kind for event in events].count(Kind.TIMER_LOST) == 1


def test_it_stops_while_the_timers_server_does_not_answer() -> None:
    """It need not answer first."""
    events: list[Event] = []

    def fail() -> Timer:
        raise TimerUnavailable("connection refused")

    with running(Service(Lapsing(ListedOrders()), fail, hooks=[events.append])):
        wait_until(lambda: Kind.TIMER_LOST in [event.kind for event in events])


@pytest.mark.parametrize("error", [TimerRefused("wrong password"), ConfigError("no such option")])
def test_a_timer_that_refuses_ends_the_service(error: Exception) -> None:
    """Waiting would not help; the sweep ends as well."""

    def refuse() -> Timer:
        raise error

    before = threading.active_count()
    with pytest.raises(type(error), match=str(error)):
        Service(Lapsing(ListedOrders()), refuse, hooks=()).run()
    assert threading.active_count() == before


def test_without_a_timer_the_sweep_is_alone() -> None:
    """Orders lapse by it, never early, and each at once."""
    orders = ListedOrders(overdue=-HOUR, soon=SECOND / 2, later=HOUR)
    due_at = orders.unpaid["soon"]
    events: list[Event] = []
    options = ServiceOptions(sweep_alone=SECOND / 20, grace=HOUR)
    with running(Service(Lapsing(orders), None, options=options, hooks=[events.append])):
        wait_until(lambda: orders.lapsed.keys() == {"overdue", "soon"})
    assert orders.lapsed["soon"][0] >= due_at
    assert {thread for _, thread in orders.lapsed.values()} == {"lapse-sweep"}
    kinds = [event.kind for event in events]
    assert Kind.STARTED in kinds
    assert Kind.STOPPED in kinds


def test_what_the_sweep_lapsed_is_disarmed() -> None:
    """A deadline whose order the sweep has lapsed is taken from the timer, which would fire without effect."""
    orders = ListedOrders()
    timer = open_timer("memory://", name="orders")
    options = ServiceOptions(sweep_beside_timer=SECOND / 20, grace=timedelta(0))
    events: list[Event] = []
    with running(Service(Lapsing(orders), lambda: timer, options=options, hooks=[events.append])):
        wait_until(lambda: Kind.STARTED in [event.kind for event in events])
        timer.arm([Deadline("early", SYSTEM_CLOCK.now() + HOUR)])
        with orders.lock:
            orders.unpaid["early"] = SYSTEM_CLOCK.now()
        wait_until(lambda: "early" in orders.lapsed)
        wait_until(lambda: timer.stats().pending == 0)


@pytest.mark.parametrize(
    "field", ["batch", "lease", "sweep_beside_timer", "sweep_alone", "max_attempts", "drain", "arm_batch"]
)
def test_a_number_that_is_not_greater_than_0_is_refused(field: str) -> None:
    """The message names the option."""
    number = 0 if field in {"batch", "max_attempts", "arm_batch"} else timedelta(0)
    with pytest.raises(ConfigError, match=f"{field} must be greater than 0; got 0"):
        ServiceOptions(**{field: number})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"{field} must be greater than 0; got -2"):
        ServiceOptions(**{field: -2 if isinstance(number, int) else -2 * SECOND})  # type: ignore[arg-type]


def test_no_grace_is_fine() -> None:
    """A grace below 0 would lapse nothing early, and makes no sense all the same."""
    assert ServiceOptions(grace=timedelta(0)).grace == timedelta(0)
    with pytest.raises(ConfigError, match="grace"):
        ServiceOptions(grace=-SECOND)


def _thread() -> str:
    return threading.current_thread().name


class Waiting:
    """Work beside a service that waits for its end; with an error, it ends at once."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.stopped = threading.Event()

    def run(self) -> None:
        """Wait."""
        if self.error is not None:
            raise self.error
        assert self.stopped.wait(LONG)

    def stop(self) -> None:
        """End."""
        self.stopped.set()


def test_what_runs_beside_is_stopped_while_the_batch_in_hand_goes_on() -> None:
    """Both drains take their time at once: one after the other would outlast the supervisor's patience."""
    orders, beside, inside = ListedOrders(due=-HOUR), Waiting(), threading.Event()
    seen: list[bool] = []
    begin = orders.begin

    def begin_slowly(keys: Sequence[str]) -> Begun:
        inside.set()
        seen.append(beside.stopped.wait(LONG))
        return begin(keys)

    orders.begin = begin_slowly  # type: ignore[method-assign]
    opener = partial(open_timer, "memory://", name="orders")
    options = ServiceOptions(grace=2 * HOUR)  # so that the worker has the batch, and not the sweep
    with running(Service(Lapsing(orders), opener, beside={"lapse-beside": beside}, options=options, hooks=())):
        assert inside.wait(LONG)
    assert seen == [True]
    assert not orders.unpaid


def test_orders_lapse_although_what_runs_beside_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is in the log, with its name."""
    orders, beside = ListedOrders(due=-HOUR), Waiting(TimerRefused("no second timer here"))
    with running(Service(Lapsing(orders), None, beside={"lapse-reminders": beside}, hooks=())):
        wait_until(lambda: not orders.unpaid and "lapse-reminders has ended" in caplog.text)
    assert "no second timer here" in caplog.text
