"""One background thread: one at a time, started again after a fork, ended by `close`."""

import _thread
import os
import threading
import time

import pytest

from lapse.engine.background import BackgroundThread


def test_one_thread_at_a_time() -> None:
    """Many calls of `ensure` start one thread; it ends with `close`, after which nothing is started."""
    runs: list[str] = []

    def run() -> None:
        runs.append(threading.current_thread().name)
        while not thread.pause(5.0):
            pass

    thread = BackgroundThread(run, name="lapse-test")
    assert not any(thread.ensure() for _ in range(10))
    assert thread.alive

    thread.close()
    assert not thread.alive
    assert not thread.ensure()
    assert runs == ["lapse-test"]


def test_a_thread_that_ended_is_replaced() -> None:
    """`ensure` starts a thread again where the earlier one has returned, and returns True."""
    runs: list[int] = []
    thread = BackgroundThread(lambda: runs.append(1), name="lapse-test")
    assert not thread.ensure()
    while thread.alive:
        pass
    assert thread.ensure()
    thread.close()
    assert len(runs) == 2


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # which is what this test is about
def test_a_fork_starts_its_own_thread() -> None:
    """In a fork, `ensure` starts a thread, also where another thread held the lock during the fork."""
    ran = threading.Event()
    thread = BackgroundThread(ran.set, name="lapse-test")
    thread.ensure()
    thread.close(5.0)
    other = BackgroundThread(ran.set, name="lapse-other")
    with other._own().starting:  # as a thread of the parent would that is just starting it
        child = os.fork()
        if not child:
            ran.clear()
            other.ensure()
            os._exit(0 if ran.wait(10.0) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # as above
def test_two_threads_of_a_fork_start_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither waits for the lock that a thread of the parent held, however long the other takes to replace it."""
    runs: list[int] = []

    def run() -> None:
        runs.append(1)
        _forever()

    thread = BackgroundThread(run, name="lapse-test")
    lock_of_the_parent = thread._own().starting
    with lock_of_the_parent:
        child = os.fork()
        if not child:
            monkeypatch.setattr(threading, "Lock", _slow_lock)
            callers = [threading.Thread(target=thread.ensure, daemon=True) for _ in range(2)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join(10.0)
            os._exit(0 if runs == [1] and not any(caller.is_alive() for caller in callers) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def _forever() -> None:
    threading.Event().wait(60.0)


def _slow_lock() -> _thread.LockType:
    """Make a lock, and let another thread run meanwhile."""
    time.sleep(0.2)
    return _thread.allocate_lock()
