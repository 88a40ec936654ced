"""A process of a shop that a test lets die at any step: before any statement, and around any call to a gateway."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from django.db.backends.signals import connection_created

T = TypeVar("T")

NEVER = 10**9


class Killed(BaseException):
    """Ends what the process is doing. No handler for errors catches it."""


class ThreadKilled(Exception):
    """Ends what a thread of the killed process is doing: each further step raises this again."""


class Process:
    """One process of the shop. Once it is dead, no step of any of its threads has an effect."""

    def __init__(self) -> None:
        self.is_dead = False
        self.steps = 0
        self._left = NEVER
        self._lock = threading.Lock()
        self._main = threading.current_thread()

    def step(self) -> None:
        """Count a step. Raises Killed if the process dies here, or is dead."""
        with self._lock:
            self.steps += 1
            self._left -= 1
            self.is_dead |= self._left < 0
            if not self.is_dead:
                return
        raise Killed if threading.current_thread() is self._main else ThreadKilled

    def run(self, work: Callable[[], T], *, steps: int | None = None) -> T | None:
        """Run the work in this process. Return its result, or None if the process died after so many steps."""
        self._left = NEVER if steps is None else steps
        with suppress(Killed, ThreadKilled):
            result = copy_context().run(self._inside, work)
            self._left = NEVER
            if not self.is_dead:  # otherwise the result says nothing: a thread has died
                return result
        return None

    def _inside(self, work: Callable[[], T]) -> T:
        PROCESS.set(self)
        return work()


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process that the current thread belongs to. Threads that call gateways inherit it."""


def step() -> None:
    """Count a step of the process that this thread belongs to, if there is one."""
    if (process := PROCESS.get()) is not None:
        process.step()


def _statement(execute: Callable[..., Any], *given: Any) -> Any:
    step()
    return execute(*given)


def _wrap(connection: Any, **_: Any) -> None:
    if _statement not in connection.execute_wrappers:
        connection.execute_wrappers.append(_statement)


@contextmanager
def statements_are_steps(*connections: Any) -> Iterator[None]:
    """Let each statement of these connections, and of each new one, be a step inside the block."""
    connection_created.connect(_wrap)
    for connection in connections:
        _wrap(connection)
    try:
        yield
    finally:
        connection_created.disconnect(_wrap)
        for connection in connections:
            connection.execute_wrappers.remove(_statement)
