"""Calls to gateways: bounded, each gateway for itself, with a circuit, and usable after a fork."""

import logging
import threading
from concurrent.futures import wait
from datetime import timedelta
from decimal import Decimal
from functools import partial

import pytest

from lapse import LapseError
from lapse.orders import Attempt, GatewayCalls, Ruling, Verdict
from lapse.orders.circuit import FAILURES, FIRST_PROBE, LAST_PROBE
from lapse.testing.clock import ManualClock
from lapse.testing.two_at_once import in_killed_process, kill_this_process
from tests.orders.gateways import PATIENCE, hanging, wait_until

BUDGET = timedelta(seconds=5)


def attempt(reference: str = "a-0", gateway: str = "till") -> Attempt:
    """Return an attempt to pay."""
    return Attempt(reference.partition("-")[0], reference, gateway)


def ask(calls: GatewayCalls, reference: str, verdict: Verdict, *, gateway: str = "till") -> Verdict:
    """Call a gateway that answers at once; return the verdict that came back."""
    of = attempt(reference, gateway)
    future = calls.submit(of, lambda: Ruling(of, verdict), unknown=Ruling(of, Verdict.UNKNOWN))
    assert wait([future], PATIENCE).done, f"no thread makes the call about {reference}"
    return future.result().verdict


def fail(calls: GatewayCalls, times: int = FAILURES) -> None:
    """Let so many calls have no clear answer."""
    for number in range(times):
        assert ask(calls, f"f-{number}", Verdict.UNKNOWN) is Verdict.UNKNOWN


def is_called(calls: GatewayCalls, reference: str = "p-0") -> bool:
    """Return whether the gateway is called now."""
    return ask(calls, reference, Verdict.CLOSED) is Verdict.CLOSED


def test_one_gateway_that_hangs_takes_no_thread_of_another() -> None:
    """Every thread of the first gateway stands still, and more calls wait; the second gateway answers."""
    calls = GatewayCalls(threads=2)
    with hanging() as till:
        stuck = []
        for number in range(5):
            of = attempt(f"{number}-0")
            stuck.append(calls.submit(of, partial(till.close, of), unknown=Ruling(of, Verdict.UNKNOWN)))
        wait_until(lambda: len(till.called) == 2)
        assert ask(calls, "b-0", Verdict.PAID, gateway="other") is Verdict.PAID
        assert not any(future.done() for future in stuck)
        assert len(till.called) == 2  # never more at once than there are threads
    assert [future.result(PATIENCE).verdict for future in stuck] == [Verdict.CLOSED] * 5
    assert calls.drain(PATIENCE)


def test_a_call_that_finds_no_room_is_answered_at_once() -> None:
    """The queue is bounded: what does not fit is unknown, and is tried again later."""
    calls = GatewayCalls(threads=1, queue=2)
    with hanging() as till:
        futures = []
        for number in range(4):
            of = attempt(f"{number}-0")
            futures.append(calls.submit(of, partial(till.close, of), unknown=Ruling(of, Verdict.UNKNOWN)))
            wait_until(lambda: till.called)
        assert [future.done() for future in futures] == [False, False, False, True]
        assert futures[3].result().verdict is Verdict.UNKNOWN
    assert [future.result(PATIENCE).verdict for future in futures[:3]] == [Verdict.CLOSED] * 3


def test_threads_end_when_there_is_no_work_and_close_what_they_opened() -> None:
    """After each call, and before its answer is handed over, so that the answer means that nothing is left open."""
    closed: list[str] = []
    calls = GatewayCalls(after_call=lambda: closed.append(threading.current_thread().name))
    assert ask(calls, "a-0", Verdict.CLOSED) is Verdict.CLOSED
    assert closed
    assert calls.drain(PATIENCE)
    assert set(closed) == {"lapse-gateway-till"}
    wait_until(lambda: not [each for each in threading.enumerate() if each.name == "lapse-gateway-till"])


@pytest.mark.parametrize("error", [LapseError("no answer"), ValueError("a bug"), SystemExit(3)])
def test_a_call_that_raises_is_unknown_and_logged(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """The thread goes on; the log names the gateway and the attempt."""
    calls = GatewayCalls()
    of = attempt()

    def work() -> Ruling:
        raise error

    unknown = Ruling(of, Verdict.UNKNOWN)
    assert calls.submit(of, work, unknown=unknown).result(PATIENCE) is unknown
    assert "'till' about attempt a-0 failed" in caplog.text
    assert is_called(calls)


def test_the_circuit_opens_says_so_once_and_closes_again(caplog: pytest.LogCaptureFixture) -> None:
    """Open, no call is made. One probe at a time; the pause doubles up to a minute; a clear answer ends all that."""
    caplog.set_level(logging.INFO, "lapse")
    clock = ManualClock()
    calls = GatewayCalls(clock=clock)
    fail(calls)
    assert not is_called(calls)
    assert calls.wait_of("till") == FIRST_PROBE.total_seconds()
    pause = FIRST_PROBE
    for _ in range(6):
        clock.advance(pause - timedelta(seconds=1))
        assert not is_called(calls)
        clock.advance(timedelta(seconds=1))
        assert calls.wait_of("till") == 0
        fail(calls, 1)  # the probe
        assert not is_called(calls)
        pause = min(2 * pause, LAST_PROBE)
        assert calls.wait_of("till") == pause.total_seconds()
    clock.advance(pause)
    assert is_called(calls)
    assert is_called(calls)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    opened, closed = (record.getMessage() for record in caplog.records)
    assert "gateway 'till' gave no clear answer to 5 calls in a row: it is not called for 5 s" in opened
    assert "all other orders lapse on time" in opened
    assert "answers again after" in closed


def test_a_clear_answer_in_between_keeps_the_circuit_closed() -> None:
    """Only failures in a row count."""
    calls = GatewayCalls()
    for _ in range(3):
        fail(calls, FAILURES - 1)
        assert is_called(calls)


def test_one_attempt_alone_does_not_open_the_circuit() -> None:
    """An attempt that no gateway can judge must not keep the gateway from the other orders."""
    calls = GatewayCalls()
    for _ in range(3 * FAILURES):
        ask(calls, "bad-0", Verdict.UNKNOWN)
    assert is_called(calls)


def test_the_circuit_of_one_gateway_is_not_that_of_another() -> None:
    """The second gateway is called while the first is not."""
    calls = GatewayCalls()
    fail(calls)
    assert not is_called(calls)
    assert ask(calls, "a-0", Verdict.CLOSED, gateway="other") is Verdict.CLOSED


def test_only_one_probe_at_a_time() -> None:
    """While the probe hangs no other call is made; after the budget the probe has failed, although it never answers."""
    clock = ManualClock()
    calls = GatewayCalls(clock=clock, budget=BUDGET)
    fail(calls)
    clock.advance(FIRST_PROBE)
    with hanging() as till:
        probe = calls.submit(attempt(), lambda: till.close(attempt()), unknown=Ruling(attempt(), Verdict.UNKNOWN))
        wait_until(lambda: till.called)
        assert not is_called(calls)
        clock.advance(BUDGET)
        assert not is_called(calls)
        assert calls.wait_of("till") == 2 * FIRST_PROBE.total_seconds()
    assert probe.result(PATIENCE).verdict is Verdict.CLOSED  # late, and not dropped


def test_calls_that_hang_open_the_circuit_and_those_that_wait_are_answered() -> None:
    """A gateway that hangs reports nothing, so the time counts. The late answers are handed over all the same."""
    clock = ManualClock()
    calls = GatewayCalls(threads=FAILURES, clock=clock, budget=BUDGET)
    with hanging() as till:
        futures = []
        for number in range(FAILURES + 3):
            of = attempt(f"{number}-0")
            futures.append(calls.submit(of, partial(till.close, of), unknown=Ruling(of, Verdict.UNKNOWN)))
        wait_until(lambda: len(till.called) == FAILURES)
        clock.advance(BUDGET - timedelta(milliseconds=1))
        assert calls.wait_of("till") == 0
        clock.advance(timedelta(seconds=1))
        assert calls.wait_of("till") > 0
        assert [future.done() for future in futures] == [False] * FAILURES + [True] * 3
    assert [future.result(PATIENCE).verdict for future in futures[:FAILURES]] == [Verdict.CLOSED] * FAILURES
    assert not is_called(calls)  # answers after the budget do not close the circuit


def test_a_probe_that_gets_no_thread_fails() -> None:
    """Every thread hangs for ever: the probe is answered, so that its order is tried again."""
    clock = ManualClock()
    calls = GatewayCalls(threads=FAILURES, clock=clock, budget=BUDGET)
    with hanging() as till:
        for number in range(FAILURES):
            of = attempt(f"{number}-0")
            calls.submit(of, partial(till.close, of), unknown=Ruling(of, Verdict.UNKNOWN))
        wait_until(lambda: len(till.called) == FAILURES)
        clock.advance(BUDGET)
        assert calls.wait_of("till") > 0
        clock.advance(FIRST_PROBE)
        of = attempt("probe-0")
        probe = calls.submit(of, lambda: till.close(of), unknown=Ruling(of, Verdict.UNKNOWN))
        assert not probe.done()
        clock.advance(BUDGET)
        assert calls.wait_of("till") == 2 * FIRST_PROBE.total_seconds()
        assert probe.result(0).verdict is Verdict.UNKNOWN


def test_draining_waits_for_what_the_answers_started() -> None:
    """Step three runs in the gateway's thread, and belongs to the call."""
    calls = GatewayCalls()
    go_on, ended = threading.Event(), threading.Event()

    def step_three(_: object) -> None:
        assert go_on.wait(PATIENCE)
        ended.set()

    of = attempt()
    future = calls.submit(of, lambda: Ruling(of, Verdict.PAID, amount=Decimal(1)), unknown=Ruling(of, Verdict.UNKNOWN))
    future.add_done_callback(step_three)
    assert future.result(PATIENCE).verdict is Verdict.PAID
    assert not calls.drain(0.0) or ended.is_set()
    go_on.set()
    assert calls.drain(PATIENCE)


def test_it_works_after_a_fork() -> None:
    """The parent's threads hang, and one may hold a lock: the new process begins with nothing, and its calls answer."""
    calls = GatewayCalls(threads=1, queue=1)

    def answers() -> None:
        assert is_called(calls)
        assert calls.drain(PATIENCE)
        kill_this_process()

    with hanging() as till:
        calls.submit(attempt(), lambda: till.close(attempt()), unknown=Ruling(attempt(), Verdict.UNKNOWN))
        wait_until(lambda: till.called)
        assert in_killed_process(answers) is None
