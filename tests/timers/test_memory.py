"""The timer in memory keeps the contract."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lapse import ConfigError, Deadline, Timer, open_timer
from lapse.testing.clock import ManualClock
from lapse.testing.conformance import TimerConformance
from lapse.testing.model import timer_machine
from lapse.timers.memory import MemoryTimer


class TestMemory(TimerConformance):
    @pytest.fixture
    def handles(self) -> Callable[[], Timer]:
        """One store in memory is one timer."""
        timer = open_timer("memory://", name="orders")
        return lambda: timer


@pytest.mark.parametrize("examples", [25, pytest.param(100, marks=pytest.mark.long)])
def test_model(examples: int) -> None:
    """Any sequence of calls leaves the same states as in a plain dictionary."""
    machine = timer_machine(lambda: MemoryTimer("orders"))
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))


def test_only_its_own_clock_counts() -> None:
    """A deadline is due, and a lease ends, by the timer's own clock, to the millisecond."""
    clock = ManualClock()
    timer = MemoryTimer("orders", clock=clock)
    timer.arm([Deadline("1", clock.now() + timedelta(minutes=30))])
    clock.advance(timedelta(minutes=30) - timedelta(milliseconds=1))
    assert timer.claim() == []
    clock.advance(timedelta(milliseconds=1))
    (claim,) = timer.claim(lease=timedelta(seconds=10))
    assert claim.late_by == timedelta(0)
    clock.advance(timedelta(seconds=10))
    assert timer.settle([claim]) == 0
    assert timer.claim()[0].attempt == 2


def test_a_memory_url_has_no_address() -> None:
    """An address is refused, because it would be ignored."""
    with pytest.raises(ConfigError, match="memory://"):
        open_timer("memory://localhost", name="orders")
