"""Arms and disarms the timer with the order's transaction. An error of the timer never fails a sale."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from django.db import OperationalError, connections, transaction

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.errors import LapseError
from lapse.integrations.django.rows.transactions import in_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from lapse.engine.deadline import Deadline
    from lapse.engine.timer import Timer, TransactionalTimer

log = logging.getLogger("lapse")

LEFT_ALONE = 5.0
"""Seconds for which a timer that did not answer is not called again, so that it delays one sale, not every sale."""


class Arming:
    """Calls the timer in the order's transaction if its table is in the same database, otherwise after the commit.

    In the transaction, a deadline is committed or rolled back with its order. After the commit, the process may die
    before it arms the order. In both cases a timer that does not answer fails no sale. The sweep lapses orders that
    were not armed, and a deadline that was not disarmed fires without effect.

    `timer` opens the timer of a name, or returns None. A shop may have one name per tenant. The name is that of the
    call's tenant, because another tenant may be current at the commit. `transactional` returns True if the timer's
    mechanism can be armed in a transaction; it calls no server.
    """

    def __init__(
        self, timer: Callable[[str], Timer | None], transactional: Callable[[], bool], *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._timer = timer
        self._transactional = transactional
        self._clock = clock
        self._lock = threading.Lock()
        self._unavailable = False
        self._not_before = 0.0
        # (database alias, timer's name) → whether the timer's table is in that database
        self._same_database: dict[tuple[str, str], bool] = {}

    def arm(self, name: str, deadlines: Sequence[Deadline], using: str) -> None:
        """Arm the deadlines with the open transaction of the database `using`; without a transaction, at once."""
        self._call(
            name,
            lambda timer: timer.arm(deadlines),
            lambda timer, where: timer.arm_in(where, deadlines),
            using,
            early=True,
        )

    def disarm(self, name: str, keys: Sequence[str], using: str) -> None:
        """Disarm the keys with the open transaction of the database `using`; without a transaction, at once."""
        self._call(
            name,
            lambda timer: timer.disarm(keys),
            lambda timer, where: timer.disarm_in(where, keys),
            using,
            early=False,
        )

    def _call(
        self,
        name: str,
        alone: Callable[[Timer], None],
        within: Callable[[TransactionalTimer, Any], None],
        using: str,
        *,
        early: bool,
    ) -> None:
        connection = connections[using]
        open_transaction = in_transaction(connection)
        if open_transaction and not connection.needs_rollback and self._call_within(name, within, connection):
            return
        if open_transaction and not connection.in_atomic_block:
            # Without autocommit only the shop knows when it commits. Arming too early at worst wakes a worker without
            # effect. Disarming too early would leave only the sweep for an order whose transaction is rolled back.
            if early:
                self._call_alone(name, alone)
            return
        # robust: Django logs any other error, and the sale is kept.
        transaction.on_commit(partial(self._call_alone, name, alone), using=using, robust=True)

    def _call_within(
        self, name: str, within: Callable[[TransactionalTimer, Any], None], connection: BaseDatabaseWrapper
    ) -> bool:
        """Call the timer in the transaction. Return False if the call must wait for the commit instead."""
        place = (connection.alias, name)
        if place not in self._same_database and not self._transactional():
            self._same_database[place] = False
        if not self._same_database.get(place, True):
            return False
        if not self._may_call():
            return True
        failure: Exception | None = None
        with transaction.atomic(using=connection.alias):  # a savepoint: an error undoes only the timer's part
            try:
                timer = cast("TransactionalTimer | None", self._timer(name))
                if timer is None or not self._in_same_database(timer, connection):
                    return False
                within(timer, connection)
            except Exception as error:  # noqa: BLE001 - an error of the timer must not fail the sale
                failure = error
                connection.needs_rollback = True  # to the savepoint
        if failure is not None:
            self._same_database.pop(place, None)
            if connection.needs_rollback or connection.closed_in_transaction:
                # Not only the savepoint but the whole transaction is gone, so the order was not placed: raise.
                raise OperationalError(f"the transaction ended while a timer was called: {failure}") from failure
        self._note(failure)
        return True

    def _in_same_database(self, timer: TransactionalTimer, connection: BaseDatabaseWrapper) -> bool:
        """Return True if the timer's table is in the connection's database. The result is cached."""
        place = (connection.alias, timer.name)
        if place not in self._same_database:
            self._same_database[place] = timer.arms_in(connection)
        return self._same_database[place]

    def _call_alone(self, name: str, alone: Callable[[Timer], None]) -> None:
        if not self._may_call():
            return
        try:
            timer = self._timer(name)
            if timer is None:
                return
            alone(timer)
        except LapseError as error:
            self._note(error)
        else:
            self._note(None)

    def _may_call(self) -> bool:
        """Return True if the timer may be called. While it does not answer, calls may hang: one per LEFT_ALONE."""
        with self._lock:
            if not self._unavailable:
                return True
            now = self._clock.monotonic()
            if now < self._not_before:
                return False
            self._not_before = now + LEFT_ALONE
            return True

    def _note(self, error: Exception | None) -> None:
        """Record whether the timer answered, and log when that changes."""
        unavailable = error is not None
        with self._lock:
            before, self._unavailable = self._unavailable, unavailable
            if unavailable and not before:
                self._not_before = self._clock.monotonic() + LEFT_ALONE
        if before is unavailable:
            return
        if error is None:
            log.warning("the timer can be armed again")
        else:
            # Any error other than a LapseError is a bug, so its traceback is logged.
            trace = None if isinstance(error, LapseError) else error
            log.warning("the timer cannot be armed, so the sweep has to find the orders: %s", error, exc_info=trace)
