"""A program that has ended by itself, while a process that it started still runs."""

import os
import signal

from lapse.testing import supervise
from lapse.testing.faults import ChildProcess
from tests.orders.gateways import wait_until

LEAVES_ONE = ["sh", "-c", "sleep 1 & exit 3"]


def is_gone(process: supervise.Supervised) -> bool:
    """Return whether the program itself has ended."""
    try:
        os.kill(process.child, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_can_be_killed_and_its_exit_code_is_its_own() -> None:
    """The signal finds no process any more, which is no error."""
    with ChildProcess(LEAVES_ONE) as program:
        wait_until(lambda: is_gone(program._process))
        assert program.running
        program.kill()
        assert program.exit_code() == 3


def test_it_can_be_ended_at_once() -> None:
    """The same where a server is ended."""
    process = supervise.start(LEAVES_ONE)
    wait_until(lambda: is_gone(process))
    assert process.end(signal.SIGKILL, 10.0) == 3
