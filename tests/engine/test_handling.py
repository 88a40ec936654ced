"""The worker hands out what is due, in batches, and does what the handler decides."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from lapse import Bury, Claim, Deadline, Decision, Event, Kind, Move, Release, Settle, Timer, TimerRefused, Worker
from lapse.engine.backoff import Backoff
from lapse.engine.waiting import claim_when_due
from lapse.engine.waker import Waker
from lapse.timers.memory import MemoryTimer
from tests.engine.running import Handled, Recorder, Running, Start, ago, unfinished, wait_until

AT_ONCE = Backoff(first=timedelta(milliseconds=1), most=timedelta(milliseconds=5))


def empty(timer: Timer) -> bool:
    """Whether nothing is armed, claimed or buried."""
    stats = timer.stats()
    return (stats.pending, stats.claimed, stats.buried) == (0, 0, 0)


def test_sleeps_until_the_deadline(timer: Timer, start: Start) -> None:
    """An idle worker hands a deadline out once its time has come, and not before."""
    handled = Handled()
    start(timer, handled)
    deadlines = [Deadline(str(number), ago(-0.1 * number)) for number in range(5)]
    timer.arm(deadlines)
    wait_until(lambda: len(handled.keys) == 5)
    assert handled.keys == ["0", "1", "2", "3", "4"]
    for claim, deadline in zip(handled.claims, deadlines, strict=True):
        assert claim.claimed_at >= deadline.due_at


def test_handles_in_batches_and_settles(timer: Timer, start: Start, recorder: Recorder) -> None:
    """No batch is larger than asked for; everything comes once; what the handler leaves out is settled."""
    timer.arm([Deadline(str(number), ago(10)) for number in range(95)])
    handled = Handled()
    start(timer, handled, batch=20)
    wait_until(lambda: empty(timer))
    assert [len(batch) for batch in handled.batches] == [20, 20, 20, 20, 15]
    assert sorted(handled.keys, key=int) == [str(number) for number in range(95)]
    assert [event.count for event in recorder.of(Kind.HANDLED)] == [20, 20, 20, 20, 15]
    assert all(event.latest is not None and event.latest >= timedelta(0) for event in recorder.of(Kind.HANDLED))


def test_decisions(timer: Timer, start: Start) -> None:
    """Each claim of a batch is released, moved, buried or settled as the handler says."""
    timer.arm([Deadline(key, ago(5)) for key in ("late", "soon", "moved", "bad", "done", "left out")])
    moved_to = ago(-600)
    decisions: dict[str, Decision] = {
        "late": Release(timedelta(hours=1)),
        "soon": Release(timedelta(milliseconds=50)),
        "moved": Move(moved_to),
        "bad": Bury("no such order"),
        "done": Settle(),
        "an unknown key": Settle(),
    }
    seen: list[Claim] = []

    def handler(claims: list[Claim]) -> Mapping[str, Decision]:
        seen.extend(claims)
        return decisions if len(claims) > 1 else {}

    start(timer, handler)
    wait_until(lambda: [claim.key for claim in seen].count("soon") == 2)
    wait_until(lambda: timer.stats().claimed == 0)
    again = seen[-1]
    first = next(claim for claim in seen if claim.key == "soon")
    assert again.claimed_at >= first.claimed_at + timedelta(milliseconds=50)
    assert (again.attempt, again.due_at) == (2, first.due_at)
    stats = timer.stats()
    assert (stats.pending, stats.due, stats.buried) == (2, 0, 1)
    assert stats.next_due is not None
    assert stats.next_due >= moved_to
    assert [(buried.key, buried.reason) for buried in timer.buried()] == [("bad", "no such order")]


def test_release_without_a_delay_backs_off_and_buries_in_the_end(timer: Timer, start: Start) -> None:
    """What is released again and again is buried with its reason; what is forgiven never is."""
    timer.arm([Deadline("hopeless", ago(5)), Deadline("forgiven", ago(5))])
    attempts: dict[str, list[int]] = {"hopeless": [], "forgiven": []}

    def handler(claims: list[Claim]) -> Mapping[str, Decision]:
        for claim in claims:
            attempts[claim.key].append(claim.attempt)
        return {
            "hopeless": Release(reason="the gateway is silent"),
            "forgiven": Release(timedelta(milliseconds=5), forgive=True),
        }

    start(timer, handler, max_attempts=3, backoff=AT_ONCE)
    wait_until(lambda: timer.stats().buried == 1 and len(attempts["forgiven"]) > 10)
    assert attempts["hopeless"] == [1, 2, 3]
    assert set(attempts["forgiven"]) == {1}
    (buried,) = timer.buried()
    assert (buried.key, buried.attempt, buried.reason) == ("hopeless", 3, "the gateway is silent")


@pytest.mark.parametrize("decision", [Move(ago(0).replace(tzinfo=None)), "settle"], ids=["naive", "no decision"])
def test_a_decision_that_cannot_be_is_that_orders_fault(timer: Timer, start: Start, decision: Decision) -> None:
    """The others are settled, the worker lives, and the one is buried in the end."""
    timer.arm([Deadline(str(number), ago(5)) for number in range(8)])

    def handler(claims: list[Claim]) -> Mapping[str, Decision]:
        return {claim.key: decision for claim in claims if claim.key == "3"}

    running = start(timer, handler, max_attempts=2, backoff=AT_ONCE)
    wait_until(lambda: timer.stats().buried == 1 and not unfinished(timer))
    assert [buried.key for buried in timer.buried()] == ["3"]
    assert running.thread.is_alive()


def test_a_hook_that_raises_costs_nothing(timer: Timer, start: Start, recorder: Recorder) -> None:
    """The work goes on, and the other hooks are called."""

    def broken(_event: Event, /) -> None:
        raise RuntimeError("no more room on the dashboard")

    timer.arm([Deadline("1", ago(5))])
    start(timer, Handled(), hooks=[broken, recorder])
    wait_until(lambda: recorder.of(Kind.HANDLED))
    assert empty(timer)


@pytest.mark.parametrize("error", [TimerRefused("wrong password"), ZeroDivisionError("a bug")], ids=["refused", "bug"])
def test_what_ends_the_loop_surfaces(recorder: Recorder, error: Exception) -> None:
    """An error that does not pass by itself comes out of run()."""

    class Broken(MemoryTimer):
        def claim(self, *_args: object, **_settings: object) -> list[Claim]:
            raise error

    worker = Worker(Broken("orders"), Handled(), hooks=[recorder])
    with pytest.raises(type(error), match=str(error)):
        worker.run()
    assert [event.kind for event in recorder.events] == [Kind.STARTED, Kind.STOPPED]


def test_a_handler_that_exits_ends_the_worker(timer: Timer) -> None:
    """SystemExit is no order's fault: it is raised by run(), and the claims run out."""
    timer.arm([Deadline("1", ago(5))])

    def handler(_claims: list[Claim]) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Worker(timer, handler).run()
    assert timer.stats().claimed == 1


@pytest.mark.parametrize(
    "settings", [{"batch": 0}, {"max_attempts": 0}, {"lease": timedelta(0)}], ids=["batch", "attempts", "lease"]
)
def test_impossible_settings(timer: Timer, settings: dict[str, int]) -> None:
    """A worker that could do nothing is not made."""
    with pytest.raises(ValueError, match="at least 1"):
        Worker(timer, Handled(), **settings)  # type: ignore[arg-type] # the very thing that is refused


def test_stop_from_another_thread(timer: Timer, start: Start, recorder: Recorder) -> None:
    """An idle worker returns from run() although its claim could have waited on."""
    timer.arm([Deadline("far", ago(-3600))])
    running = start(timer, Handled())
    wait_until(lambda: recorder.of(Kind.STARTED))
    running.stop()
    assert [event.kind for event in recorder.events] == [Kind.STARTED, Kind.STOPPED]
    assert recorder.events[-1].reason == ""


def test_two_workers_on_one_timer_both_stop(
    timer: Timer, start: Start, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wake-up ends one wait, perhaps the other worker's: a worker repeats it until its own claim has ended."""
    monkeypatch.setattr("lapse.engine.claim_loop.CLAIM_WAIT", timedelta(hours=1))
    workers: list[Running] = [start(timer, Handled(), drain=timedelta(hours=1)) for _ in range(3)]
    wait_until(lambda: len(recorder.of(Kind.STARTED)) == 3)
    for running in workers:
        running.stop()
    assert not any(running.thread.is_alive() for running in workers)


def test_no_work_is_taken_after_stop() -> None:
    """A claim whose wait is interrupted looks no more: an interrupt means the end."""
    looks: list[int] = []

    def take() -> tuple[list[Claim], float | None]:
        looks.append(1)
        return [], None

    waker = Waker()
    waker.interrupt()
    assert claim_when_due(take, waker, 3600) == []
    assert len(looks) == 1


def test_each_interruption_ends_one_wait() -> None:
    """Wake-ups that come together are one; interruptions are one each, and none is lost among wake-ups."""
    waker = Waker()
    for call in (waker.wake, waker.wake, waker.interrupt, waker.wake, waker.interrupt, waker.wake):
        call()
    assert waker.wait(3600)
    assert waker.wait(3600)
    assert not waker.wait(0)
