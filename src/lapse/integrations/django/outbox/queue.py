"""The deliveries of one endpoint as a timer, so that the engine's claim loop carries them out.

A delivery can be claimed if it is due and no earlier message of its key for this endpoint is waiting or buried. So of
each key at most one message is under way, and messages of different keys do not wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from django.db import OperationalError, connections, router
from django.db.models import Count, Exists, F, Min, OuterRef, Q, QuerySet

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Buried, Claim, Deadline
from lapse.engine.errors import TimerUnavailable, TryLater
from lapse.engine.timer import LEASE, Finding, Stats, Traits
from lapse.engine.visible import one_line, visible
from lapse.engine.waiting import LOOK_AGAIN, claim_when_due
from lapse.engine.waker import Waker
from lapse.integrations.django.outbox.availability import Availability
from lapse.integrations.django.outbox.models import OPEN, Delivery, State
from lapse.integrations.django.outbox.wakeups import listen
from lapse.integrations.django.rows.database_clock import DatabaseNow, as_stored, aware
from lapse.integrations.django.rows.db_errors import close_outlived_connection, first_line, unavailable_is_try_later
from lapse.integrations.django.rows.row_locks import one_of
from lapse.integrations.django.rows.transactions import read_committed

if TYPE_CHECKING:
    from types import TracebackType

MOST_ANSWER = 200
"""How many characters of an answer are stored."""


class DeliveryQueue:
    """Implements `lapse.engine.timer.Timer` on the table of deliveries. Thread-safe.

    The key of a claim names the row, and then says what the delivery is. A thread that changes a row closes its
    database connection afterwards. So a worker holds one connection for each endpoint, and not one for each thread.
    """

    def __init__(self, endpoint: str, availability: Availability | None = None) -> None:
        self.name = f"outbox {endpoint}"
        self.traits = Traits(
            mechanism="outbox",
            durable=True,
            shared=True,
            can_disarm=True,
            transactional=True,
            ordered=True,
            precision=timedelta(seconds=LOOK_AGAIN),
        )
        self._endpoint = endpoint
        self._availability = availability or Availability()
        self._waker = Waker()
        listen(self._waker)
        self._lock = threading.Lock()
        self._claimed: dict[tuple[str, int], Delivery] = {}
        self._answers: dict[tuple[str, int], str] = {}

    def delivery(self, claim: Claim) -> Delivery:
        """Return the row of a claim, as it was when claimed."""
        with self._lock:
            return self._claimed[claim.key, claim.token]

    def note(self, claim: Claim, answer: str) -> None:
        """Store the answer with the next change of this claim."""
        with self._lock:
            self._answers[claim.key, claim.token] = answer

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Return claims on due deliveries, the earliest first. If none is due, wait until one is."""
        return claim_when_due(lambda: (self._take(limit, lease), None), self._waker, wait.total_seconds())

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Restart the leases now. Return the renewed claims, without those whose lease had already ended."""
        with self._changing():
            unexpired = Q(due_at__gt=DatabaseNow())
            held = [claim for claim in claims if self._held(claim).filter(unexpired).update(due_at=DatabaseNow(-lease))]
            ends = dict(self._rows().filter(pk__in=[_pk(claim.key) for claim in held]).values_list("pk", "due_at"))
        found = [(claim, ends.get(_pk(claim.key))) for claim in held]
        return [replace(claim, leased_until=aware(end)) for claim, end in found if end is not None]

    def settle(self, claims: Sequence[Claim]) -> int:
        """Record that these messages were delivered. Return how many claims were still held."""
        return self._change(claims, state=State.DELIVERED, due_at=None, ended_at=DatabaseNow())

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Let these messages be sent again after the delay. Return how many claims were still held."""
        return self._change(claims, due_at=DatabaseNow(-delay), tries=F("tries") - 1 if forgive else F("tries"))

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Send these messages no more, until a person decides. Return how many claims were still held."""
        for claim in claims:
            with self._lock:
                self._answers.setdefault((claim.key, claim.token), reason)
        return self._change(claims, state=State.BURIED, due_at=None)

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Let waiting messages be sent at these times. Other rows stay as they are."""
        if only_unknown:
            return
        with self._changing():
            for deadline in deadlines:
                waiting = self._rows().filter(pk=_pk(deadline.key), state=State.WAITING)
                waiting.update(due_at=as_stored(deadline.due_at), tries=0, token=F("token") + 1)

    def disarm(self, keys: Iterable[str]) -> None:
        """Stop sending messages that wait or are buried, as a person does who gives them up."""
        with self._changing():
            rows = self._rows().filter(pk__in=[_pk(key) for key in keys], state__in=OPEN)
            rows.update(state=State.GIVEN_UP, due_at=None, ended_at=DatabaseNow(), token=F("token") + 1)

    def buried(self, limit: int = 100) -> list[Buried]:
        """Return the buried messages, the longest buried first."""
        with self._changing():
            rows = list(self._rows().filter(state=State.BURIED).order_by("tried_at", "pk")[:limit])
        return [
            Buried(_key(row), aware(row.made_at), row.tries, row.answer, aware(row.tried_at or row.made_at))
            for row in rows
        ]

    def revive(self, keys: Iterable[str]) -> int:
        """Let buried messages be sent at once, with their tries reset to 0. Return how many were buried."""
        with self._changing():
            rows = self._rows().filter(pk__in=[_pk(key) for key in keys], state=State.BURIED)
            revived: int = rows.update(state=State.WAITING, due_at=DatabaseNow(), tries=0, token=F("token") + 1)
        self._waker.wake()
        return revived

    def stats(self) -> Stats:
        """Return the counts. A message under a lease counts as pending."""
        due = Q(state=State.WAITING, due_at__lte=DatabaseNow())
        with self._changing():
            found = (
                self._rows()
                .filter(state__in=OPEN)
                .aggregate(
                    pending=Count("pk", filter=Q(state=State.WAITING)),
                    due=Count("pk", filter=due),
                    buried=Count("pk", filter=Q(state=State.BURIED)),
                    oldest_due=Min("due_at", filter=due),
                    next_due=Min("due_at", filter=Q(state=State.WAITING) & ~due),
                )
            )
        times = {name: found[name] and aware(found[name]) for name in ("oldest_due", "next_due")}
        return Stats(
            pending=found["pending"],
            due=found["due"],
            claimed=0,
            buried=found["buried"],
            now=SYSTEM_CLOCK.now(),
            **times,
        )

    def generation(self) -> str:
        """Return the one generation: messages are lost with the orders only."""
        return self.name

    def check(self) -> list[Finding]:
        """Return no findings: `manage.py check` looks at the set-up."""
        return []

    def wake(self) -> None:
        """End a wait."""
        self._waker.interrupt()

    def close(self) -> None:
        """End a wait."""
        self._waker.interrupt()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, limit: int, lease: timedelta) -> list[Claim]:
        room = self._availability.room(limit)
        if not room:
            return []
        using = self._using
        earlier = self._rows().filter(key=OuterRef("key"), state__in=OPEN, pk__lt=OuterRef("pk"))
        skip = connections[using].features.has_select_for_update_skip_locked
        with _answering(using), read_committed(using):
            self._rows().filter(one_of("pk", ())).update(tries=F("tries"))  # on SQLite, it takes the write lock
            due = self._rows().filter(~Exists(earlier), due_at__lte=DatabaseNow()).order_by("due_at", "pk")
            found = list(due.annotate(now=DatabaseNow()).select_for_update(skip_locked=skip)[:room])
            self._rows().filter(pk__in=[row.pk for row in found]).update(
                due_at=DatabaseNow(-lease), tries=F("tries") + 1, token=F("token") + 1
            )
        claims = [_claim(row, lease) for row in found]
        with self._lock:
            self._claimed.update(zip([(claim.key, claim.token) for claim in claims], found, strict=True))
        if claims:
            self._availability.claimed()
        return claims

    def _change(self, claims: Sequence[Claim], **values: Any) -> int:  # noqa: ANN401 - values of Django's update()
        """Change the rows of these claims if they are still held; return how many were. Let the next message come."""
        changed = 0
        with self._changing():
            for claim in claims:
                with self._lock:
                    self._claimed.pop((claim.key, claim.token), None)
                    answer = self._answers.pop((claim.key, claim.token), None)
                tried = (
                    {} if answer is None else {"answer": visible(answer, MOST_ANSWER - 1), "tried_at": DatabaseNow()}
                )
                changed += self._held(claim).update(**values, **tried)
        self._waker.wake()  # a later message of the key may be due now
        return changed

    def _held(self, claim: Claim) -> QuerySet[Delivery]:
        return self._rows().filter(pk=_pk(claim.key), token=claim.token, state=State.WAITING)

    def _rows(self) -> QuerySet[Delivery]:
        return QuerySet(Delivery, using=self._using).filter(endpoint=self._endpoint)

    @property
    def _using(self) -> str:
        return router.db_for_write(Delivery)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        using = self._using
        try:
            with _answering(using):
                yield
        finally:
            if not connections[using].in_atomic_block:
                connections[using].close()


@contextmanager
def _answering(using: str) -> Iterator[None]:
    """Raise TimerUnavailable if the database does not answer, or if a transaction was in another one's way."""
    try:
        close_outlived_connection(using)
        with unavailable_is_try_later(using):
            yield
    except TryLater as error:
        raise TimerUnavailable(str(error)) from error
    except OperationalError as error:
        raise TimerUnavailable(f"the database refused: {one_line(first_line(error))}") from error


def _claim(row: Any, lease: timedelta) -> Claim:  # noqa: ANN401 - a Delivery, annotated with `now`
    now = aware(row.now)
    return Claim(_key(row), aware(row.due_at), row.tries + 1, row.token + 1, now, now + lease)


def _key(row: Delivery) -> str:
    return f"{row.pk} {row.type} {row.key}"


def _pk(key: str) -> int:
    return int(key.partition(" ")[0])
