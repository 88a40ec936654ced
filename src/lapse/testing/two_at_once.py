"""What a test of two at once needs: threads that report their result, a point to stand at, a process that is killed."""

import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from lapse.engine.clock import SYSTEM_CLOCK

T = TypeVar("T")

SHARED_MEMORY = "database table is locked"
"""What SQLite says, without waiting, if two connections use one database in memory."""

IN_A_FILE = (
    "In an SQLite database in memory no transaction can wait for another one. Give the test database a file, in "
    "DATABASES: 'TEST': {'NAME': 'test.sqlite3'}"
)

PATIENCE = 60.0
"""Seconds after which a test gives up waiting. A test that passes never waits for so long."""

LOOK_AGAIN = 0.01
"""Seconds between two looks at something that sends no signal."""

LONGEST_ERROR = 8000
"""Characters of an error that a process reports: they fit into a pipe that nothing has read yet."""


def in_thread(work: Callable[[], T], after: Callable[[], None]) -> "Future[T]":
    """Start the work in a thread of its own and return its future. `after` runs at the end of the thread."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            found = work()
        except BaseException as error:  # noqa: BLE001 - carried to the test
            after()
            if SHARED_MEMORY in str(error):
                error.add_note(IN_A_FILE)
            future.set_exception(error)
        else:
            after()
            future.set_result(found)

    # A daemon, because a statement that waits for a lock for ever must not keep the test run from its end.
    threading.Thread(target=run, daemon=True).start()
    return future


def finish_or_block(future: "Future[T]", most: timedelta) -> None:
    """Return as soon as the thread has finished, or after `most`: then it probably waits for a lock.

    No portable statement says whether a connection waits for a lock. A thread that needs longer to reach the lock makes
    the test weaker, and never makes it fail.
    """
    wait([future], timeout=most.total_seconds())


class Standstill:
    """A point in the code at which the first thread that comes stands still until it is released."""

    def __init__(self) -> None:
        self._taken = threading.Lock()
        self._reached = threading.Event()
        self._released = threading.Event()

    def stand(self) -> None:
        """Stand still if this is the first call. Raises AssertionError if the test never releases the thread."""
        if self._taken.acquire(blocking=False):
            self._reached.set()
            assert self._released.wait(PATIENCE), "the test did not release the thread that stands still"

    def reached_by(self, future: "Future[T]") -> bool:
        """Wait until a thread stands here or the future is done; return whether a thread stands here."""
        end = SYSTEM_CLOCK.monotonic() + PATIENCE
        while not self._reached.wait(LOOK_AGAIN) and not future.done():
            assert SYSTEM_CLOCK.monotonic() < end, f"nothing came to the point within {PATIENCE:g} s"
        return self._reached.is_set()

    def release(self) -> None:
        """Let the thread go on."""
        self._released.set()


@contextmanager
def shadowed(target: object, name: str, replacement: object) -> Iterator[None]:
    """Replace a method or a value of this one object until the end of the block."""
    vars(target)[name] = replacement
    try:
        yield
    finally:
        del vars(target)[name]


def kill_this_process() -> None:
    """End this process as the kernel does when memory runs out: no handler runs, and no transaction is ended."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_killed_process(work: Callable[[], object]) -> str | None:
    """Run the work in a forked process. Return None if SIGKILL has ended the process, and otherwise why it has not.

    The caller closes its connections to servers before: a process must not use the connections of another one. SIGKILL
    is real: the transaction is ended by the database, when it sees that the connection is gone.
    """
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # Python warns of other threads, whose locks the new process would wait for. The work needs none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        error = "it returned"
        try:
            work()
        except BaseException:  # noqa: BLE001 - the process must not go on as a second run of the tests
            error = traceback.format_exc()
        finally:
            os.write(write_end, error[-LONGEST_ERROR:].encode())
            os._exit(1)
    os.close(write_end)
    try:
        killed = _ended_by(pid) == signal.SIGKILL
        return None if killed else os.read(read_end, 4 * LONGEST_ERROR).decode()
    finally:
        os.close(read_end)


def _ended_by(pid: int) -> int:
    """Wait for the end of the process; return the signal that ended it, or 0. Raises AssertionError if it hangs."""
    end = SYSTEM_CLOCK.monotonic() + PATIENCE
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if SYSTEM_CLOCK.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError(f"the process did not end within {PATIENCE:g} s")
        SYSTEM_CLOCK.sleep(LOOK_AGAIN)
    return os.WTERMSIG(ended[1]) if os.WIFSIGNALED(ended[1]) else 0
