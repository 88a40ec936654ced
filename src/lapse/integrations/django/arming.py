"""Arming and disarming with the order's own transaction, without ever failing a sale."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from django.db import OperationalError, connections, transaction

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.errors import LapseError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from lapse.engine.deadline import Deadline
    from lapse.engine.timer import Timer, TransactionalTimer

log = logging.getLogger("lapse")

LEFT_ALONE = 5.0
"""Seconds for which a timer that gave no answer is not asked again, so that it holds up no more than one sale."""


class Arming:
    """Tells the timer in the order's transaction where its table is in the same database, else after the commit.

    In the transaction, a deadline is committed and rolled back with its order. After the commit, a process that dies
    in between has told nobody. Either way a timer that cannot be told fails no sale: the sweep lapses such orders, and
    a deadline that was not disarmed fires for nothing.

    `timer` opens the timer, or answers None; `transactional` says, without asking anybody, whether the timer's
    mechanism can be armed in a transaction at all.
    """

    def __init__(
        self, timer: Callable[[], Timer | None], transactional: Callable[[], bool], *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._timer = timer
        self._transactional = transactional
        self._clock = clock
        self._lock = threading.Lock()
        self._away = False
        self._not_before = 0.0
        self._together: dict[str, bool] = {}  # by the alias of a database: whether the timer's table is there

    def arm(self, deadlines: Sequence[Deadline], using: str) -> None:
        """Arm them with the transaction that `using` is in; at once outside of one."""
        self._tell(
            lambda timer: timer.arm(deadlines),
            lambda timer, where: timer.arm_in(where, deadlines),
            using,
            early=True,
        )

    def disarm(self, keys: Sequence[str], using: str) -> None:
        """Disarm them with the transaction that `using` is in; at once outside of one."""
        self._tell(
            lambda timer: timer.disarm(keys),
            lambda timer, where: timer.disarm_in(where, keys),
            using,
            early=False,
        )

    def _tell(
        self,
        alone: Callable[[Timer], None],
        within: Callable[[TransactionalTimer, Any], None],
        using: str,
        *,
        early: bool,
    ) -> None:
        connection = connections[using]
        in_transaction = connection.in_atomic_block or not connection.get_autocommit()
        if in_transaction and not connection.needs_rollback and self._tell_within(within, connection):
            return
        if in_transaction and not connection.in_atomic_block:
            # Without autocommit only the shop knows when it commits. To arm too early wakes a worker for nothing at
            # worst; to disarm too early would leave an order that is rolled back to the sweep.
            if early:
                self._tell_alone(alone)
            return
        # robust: whatever else goes wrong is logged by Django, and the sale stands.
        transaction.on_commit(partial(self._tell_alone, alone), using=using, robust=True)

    def _tell_within(self, within: Callable[[TransactionalTimer, Any], None], connection: BaseDatabaseWrapper) -> bool:
        """Tell it in the transaction. False where that cannot be, and the commit has to be waited for."""
        if connection.alias not in self._together and not self._transactional():
            self._together[connection.alias] = False
        if not self._together.get(connection.alias, True):
            return False
        if not self._worth_a_try():
            return True
        failure: Exception | None = None
        with transaction.atomic(using=connection.alias):  # a savepoint: what fails takes nothing else with it
            try:
                timer = cast("TransactionalTimer | None", self._timer())
                if timer is None or not self._is_together(timer, connection):
                    return False
                within(timer, connection)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong with a timer, the sale stands
                failure = error
                connection.needs_rollback = True  # to the savepoint
        if failure is not None:
            self._together.pop(connection.alias, None)
            if connection.needs_rollback or connection.closed_in_transaction:
                # There was no savepoint to go back to, nor is there an order any more: it must not seem placed.
                raise OperationalError(f"the transaction ended while a timer was told: {failure}") from failure
        self._was_told(failure)
        return True

    def _is_together(self, timer: TransactionalTimer, connection: BaseDatabaseWrapper) -> bool:
        """Ask once; two threads that do it at once learn the same."""
        if connection.alias not in self._together:
            self._together[connection.alias] = timer.arms_in(connection)
        return self._together[connection.alias]

    def _tell_alone(self, alone: Callable[[Timer], None]) -> None:
        if not self._worth_a_try():
            return
        try:
            timer = self._timer()
            if timer is None:
                return
            alone(timer)
        except LapseError as error:
            self._was_told(error)
        else:
            self._was_told(None)

    def _worth_a_try(self) -> bool:
        """False while the timer is known to be away, but for one try now and then: each may hang for a while."""
        with self._lock:
            if not self._away:
                return True
            now = self._clock.monotonic()
            if now < self._not_before:
                return False
            self._not_before = now + LEFT_ALONE
            return True

    def _was_told(self, error: Exception | None) -> None:
        """Say it where that is news."""
        away = error is not None
        with self._lock:
            before, self._away = self._away, away
            if away and not before:
                self._not_before = self._clock.monotonic() + LEFT_ALONE
        if before is away:
            return
        if error is None:
            log.warning("the timer can be told again")
        else:
            # What no timer raises on purpose is shown with its traceback.
            trace = None if isinstance(error, LapseError) else error
            log.warning("the timer cannot be told, so the sweep has to find the orders: %s", error, exc_info=trace)
