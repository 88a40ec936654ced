"""Delayed messages on RabbitMQ, with nothing but its queues: quorum queues that wait, one after the other."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Self

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import EPOCH, Buried, Claim, Deadline, to_milliseconds
from lapse.engine.errors import TimerError
from lapse.engine.timer import LEASE, Finding, Stats, Traits
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.buried import dug_out, listed
from lapse.timers.rabbitmq.check import findings
from lapse.timers.rabbitmq.claiming import Claiming
from lapse.timers.rabbitmq.consumer import Inbox
from lapse.timers.rabbitmq.counts import counted
from lapse.timers.rabbitmq.leases import Held
from lapse.timers.rabbitmq.messages import Copy, Note
from lapse.timers.rabbitmq.publisher import Outbox, milliseconds_now
from lapse.timers.rabbitmq.queues import Names
from lapse.timers.rabbitmq.reconnecting import Kept
from lapse.timers.rabbitmq.restoring import Restoring
from lapse.timers.rabbitmq.wakeups import Bells

TRAITS = Traits(
    mechanism="rabbitmq",
    durable=True,
    shared=True,
    can_disarm=False,
    transactional=False,
    ordered=False,
    precision=timedelta(seconds=1),
    clock="host",
    exact_stats=False,
)


class RabbitTimer:
    """A timer on one virtual host of a RabbitMQ.

    RabbitMQ tells nobody the time. A message waits as long as the process that armed it has worked out by its clock,
    and is handed out when it is due by the clock of the process that claims.
    """

    traits = TRAITS

    def __init__(self, address: Address, name: str) -> None:
        self.name = name
        self._address = address
        self._names = names = Names(name)
        self._bells = Bells()
        self._outbox = Kept(lambda: Outbox(address, names))
        self._inbox = Kept(lambda: Inbox(address, names, self._bells.ring))
        self._claiming = Claiming(names, self._bells, self._outbox.get)
        self._restoring = Restoring(names)
        self._lock = threading.Lock()
        self._last_armed = 0

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many at once. What was armed before fires nevertheless."""
        latest = {deadline.key: to_milliseconds(deadline.due_at) for deadline in deadlines}
        if not latest:
            return
        outbox, armed = self._outbox.get(), self._stamp()
        notes = [Note(key, due, due, armed, armed) for key, due in latest.items()]
        if only_unknown:
            inbox = self._inbox.peek()
            held = inbox.leases.keys() if inbox else set()
            self._restoring.restore(outbox, [note for note in notes if note.key not in held])
        else:
            outbox.post(notes)
            self._end_claims(latest)

    def disarm(self, keys: Iterable[str]) -> None:
        """End the claims that this handle has on them. What waits cannot be found by its key, and fires."""
        self._end_claims(keys)

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Take what is due, or wait for it."""
        if limit < 1:
            return []
        inbox = self._inbox.get()
        copies: dict[str, list[Copy]] = defaultdict(list)
        for copy in self._claiming.due(inbox, limit, wait.total_seconds()):
            copies[copy.note.key].append(copy)
        return inbox.leases.hold(copies, lease, SYSTEM_CLOCK.now()) if copies else []

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Let the leases run from now again."""
        inbox = self._inbox.peek()
        return inbox.leases.renew(claims, lease) if inbox else []

    def settle(self, claims: Sequence[Claim]) -> int:
        """Forget what is done."""
        inbox = self._inbox.peek()
        if inbox is None:
            return 0
        held = inbox.leases.take(claims)
        inbox.settle(_tags(held))
        return len(held)

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Give back, for after the delay."""
        later = to_milliseconds(SYSTEM_CLOCK.now() + delay) if delay > timedelta(0) else 0
        with self._taken(claims) as held:
            self._outbox.get().post(
                replace(
                    one.note,
                    at=later or one.note.due,
                    attempts=one.claim.attempt - forgive,
                    token=one.claim.token,
                )
                for one in held
            )
        return len(held)

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Give up on these."""
        now = to_milliseconds(SYSTEM_CLOCK.now())
        reason = reason.encode(errors="replace").decode()
        with self._taken(claims) as held:
            self._outbox.get().bury(
                replace(one.note, attempts=one.claim.attempt, token=one.claim.token, reason=reason, buried=now)
                for one in held
            )
        return len(held)

    def buried(self, limit: int = 100) -> list[Buried]:
        """List what was given up on."""
        return listed(self._inbox.get(), self._names, limit)

    def revive(self, keys: Iterable[str]) -> int:
        """Bring back what was buried, due at once."""
        now = milliseconds_now()
        wanted = set(keys)
        if not wanted:
            return 0

        def post(notes: list[Note]) -> None:
            fresh = [replace(note, at=min(note.due, now), attempts=0, reason="", buried=0) for note in notes]
            self._outbox.get().post(fresh)

        return dug_out(self._inbox.get(), self._names, wanted, post)

    def stats(self) -> Stats:
        """Count what is with nobody, and what is claimed here."""
        inbox = self._inbox.get()
        figures = counted(inbox.link, self._names)
        return Stats(
            pending=figures.waiting + figures.due,
            due=figures.due,
            claimed=len(inbox.leases),
            buried=figures.buried,
            oldest_due=None,
            next_due=None,
            now=SYSTEM_CLOCK.now(),
        )

    def generation(self) -> str:
        """Name the broker's memory, as it was when the connection came to stand."""
        return self._inbox.get().memory

    def check(self) -> list[Finding]:
        """Look at the broker's version, its alarms and its clock."""
        return findings(self._outbox.get().link)

    def wake(self) -> None:
        """End a wait."""
        self._bells.interrupt()

    def close(self) -> None:
        """Give up the connections. The broker gives what is claimed here to others at once."""
        self.wake()
        self._inbox.close()
        self._outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stamp(self) -> int:
        """Name the moment of arming, in microseconds: a later one than any before in this process."""
        with self._lock:
            now = (SYSTEM_CLOCK.now() - EPOCH) // timedelta(microseconds=1)
            self._last_armed = max(self._last_armed + 1, now)
            return self._last_armed

    def _end_claims(self, keys: Iterable[str]) -> None:
        inbox = self._inbox.peek()
        if inbox is not None:
            inbox.settle(_tags(inbox.leases.take_keys(keys)))

    @contextmanager
    def _taken(self, claims: Sequence[Claim]) -> Iterator[list[Held]]:
        """Take what is held of the claims, for a block that writes it down elsewhere; then it is answered."""
        inbox = self._inbox.peek()
        held = inbox.leases.take(claims) if inbox else []
        if not inbox or not held:
            yield []
            return
        try:
            yield held
        except BaseException:
            with suppress(
                TimerError
            ):  # where this fails too, the connection is lost, and the broker gives it to others
                inbox.line.answer(returned=_tags(held))
            raise
        inbox.settle(_tags(held))


def open_from_url(url: str, *, name: str) -> RabbitTimer:
    """Open by URL, for example amqp://user:password@localhost:5672/vhost."""
    return RabbitTimer(Address.parse(url), name)


def _tags(held: Iterable[Held]) -> list[int]:
    return [tag for one in held for tag in one.tags]
