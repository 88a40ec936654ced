"""Delivers what waits in the outbox: a claim loop for each endpoint, and the removal of old messages."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from django.db import connections

from lapse.engine.backoff import Backoff
from lapse.engine.claim_loop import RECONNECT, ClaimLoop
from lapse.engine.concurrency import ConcurrentExecutor
from lapse.engine.decision import Release, Settle
from lapse.engine.events import Event, Hook, Kind, emit, log_event
from lapse.engine.timer import LEASE
from lapse.engine.waker import Waker
from lapse.engine.worker import DRAIN
from lapse.integrations.django.outbox.availability import Availability
from lapse.integrations.django.outbox.channels import open_channel
from lapse.integrations.django.outbox.history import remove_old, undeclared
from lapse.integrations.django.outbox.message import Message
from lapse.integrations.django.outbox.queue import DeliveryQueue
from lapse.orders.repeating import Repeating

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lapse.engine.deadline import Claim
    from lapse.engine.settlement import Settlement
    from lapse.integrations.django.outbox.channel import Channel
    from lapse.integrations.django.outbox.settings import Endpoint, OutboxSettings

log = logging.getLogger("lapse")

RETRY = Backoff(first=timedelta(seconds=1), most=timedelta(minutes=30))
"""The waits between two tries of one message."""

TIDY_EVERY = timedelta(hours=1)
"""Time between two removals of old messages."""


class Outbox:
    """Delivers messages to the endpoints of the settings. Run as many, in as many processes, as you like.

    * Each endpoint has its own claim loop and threads, so a slow receiver delays its own messages only.
    * An error that ends a claim loop is logged, and the loop begins again after a wait.
    * After `stop`, calls that are under way may end within `drain`. Then they are repeated when their leases end.

    Raises ConfigError if the settings of an endpoint are wrong.
    """

    def __init__(
        self,
        settings: OutboxSettings,
        *,
        drain: timedelta = DRAIN,
        lease: timedelta = LEASE,
        backoff: Backoff = RETRY,
        hooks: Iterable[Hook] = (log_event,),
    ) -> None:
        self._settings = settings
        self._drain = drain
        self._lease = lease
        self._backoff = backoff
        self._hooks = tuple(hooks)
        self._stopping = False
        self._wakers = {endpoint.name: Waker() for endpoint in settings.endpoints}
        self._loops: dict[str, ClaimLoop] = {}
        self._channels = [(endpoint, open_channel(endpoint)) for endpoint in settings.endpoints]
        self._tidying = Repeating(
            self._tidy, every=TIDY_EVERY, name="removing old messages", timer="outbox", hooks=self._hooks
        )

    @property
    def endpoints(self) -> list[str]:
        """The names of the endpoints."""
        return [endpoint.name for endpoint in self._settings.endpoints]

    def run(self) -> None:
        """Deliver until `stop`. An outbox runs once."""
        threads = [
            threading.Thread(target=partial(self._deliver, *each), name=f"lapse-outbox-{each[0].name}", daemon=True)
            for each in self._channels
        ]
        threads.append(threading.Thread(target=self._run_tidying, name="lapse-outbox-tidying", daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for _, channel in self._channels:
            channel.close()

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Run in a thread during the block, and drain at its end."""
        thread = threading.Thread(target=self.run, name="lapse-outbox", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join(self._drain.total_seconds() + 1)

    def stop(self) -> None:
        """Return from `run` soon. May be called from any thread or signal handler."""
        self._stopping = True
        self._tidying.stop()
        for waker in self._wakers.values():
            waker.interrupt()
        for loop in list(self._loops.values()):
            loop.stop()

    def _deliver(self, endpoint: Endpoint, channel: Channel) -> None:
        failures = 0
        while not self._stopping:
            availability = Availability()
            queue = DeliveryQueue(endpoint.name, availability)
            loop = ClaimLoop(
                queue,
                partial(_Executor, _Handler(queue, channel, availability, self._backoff), self._settings.concurrency),
                lease=self._lease,
                max_attempts=self._settings.tries,
                backoff=self._backoff,
                drain=self._drain,
                rearm=None,
                hooks=self._hooks,
            )
            self._loops[endpoint.name] = loop
            if self._stopping:  # the signal came before there was a loop to stop
                loop.stop()
            try:
                loop.run()
            except Exception as error:  # noqa: BLE001 - an error of one moment must not end the deliveries for good
                failures += 1
                again = RECONNECT.delay(failures).total_seconds()
                reason = f"the deliveries to {endpoint.name} failed and begin again in {again:.1f} s"
                emit(self._hooks, Event(kind=Kind.FAILED, timer=queue.name, reason=reason, error=error))
                self._wakers[endpoint.name].wait(again)

    def _run_tidying(self) -> None:
        try:
            self._tidying.run()
        finally:
            connections.close_all()

    def _tidy(self) -> None:
        remove_old(self._settings.keep)
        for name, count in undeclared(self.endpoints).items():
            log.warning(
                "outbox: %d messages wait for %s, which LAPSE_OUTBOX does not declare: declare it, or give them up",
                count,
                name,
            )


class _Handler:
    """Delivers one claim, and decides what becomes of it."""

    def __init__(self, queue: DeliveryQueue, channel: Channel, availability: Availability, backoff: Backoff) -> None:
        self._queue = queue
        self._channel = channel
        self._availability = availability
        self._backoff = backoff

    def __call__(self, claim: Claim) -> Settle | Release:
        row = self._queue.delivery(claim)
        try:
            tried = self._channel.deliver(Message.read(row.message, row.key, row.document))
        except Exception as error:
            self._queue.note(claim, f"{type(error).__name__}: {error}")
            self._failed(row.key)
            raise
        self._queue.note(claim, tried.answer)
        if tried.delivered:
            if self._availability.succeeded():
                log.info("%s: the receiver accepts messages again", self._queue.name)
            return Settle()
        self._failed(row.key)
        delay = self._backoff.delay(claim.attempt)
        if tried.wait is not None:
            # As long as the receiver asks, and a random time more, so that not all messages come at one moment.
            delay = max(delay, tried.wait + Backoff().delay(1))
        return Release(delay, reason=tried.answer)

    def _failed(self, key: str) -> None:
        if self._availability.failed(key):
            log.error(
                "%s: the receiver accepted none of the last messages: until it accepts one, one message at a time "
                "tries it, every 30 s at the latest. The others wait and are not counted as tried",
                self._queue.name,
            )


class _Executor(ConcurrentExecutor):
    """Closes the database connection of the claim loop's thread at its end."""

    def __init__(self, handler: _Handler, concurrency: int, settlement: Settlement) -> None:
        super().__init__(handler, settlement, concurrency=concurrency)

    def finish(self) -> None:
        """Wait until all work that has begun has ended, and close what this thread opened."""
        try:
            super().finish()
        finally:
            connections.close_all()
