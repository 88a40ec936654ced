"""A timer in a table of an SQL database: what is the same for every dialect.

Deadlines of all timers are rows of one table, `lapse_deadline`, made on first use. What is said to it stands in
`dialects/`; what a dialect is otherwise, its driver and how its sleepers are woken, is a `Database`.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4

from lapse.engine.deadline import MILLISECOND, Buried, Claim, Deadline, from_milliseconds
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import FRESH_SHARE, LEASE, Finding, Stats
from lapse.engine.waiting import claim_when_due
from lapse.engine.waker import Waker
from lapse.timers.sql.batches import MOST_ROWS, claim_parts, deadline_parts, key_parts
from lapse.timers.sql.database import Database, Row
from lapse.timers.sql.statements import statements

LOCKED_PAUSE = 0.01
"""Seconds until the next look where all that is due is locked by another claimant, who will commit at once."""


class SqlTimer:
    """Deadlines in a table, claimed under leases, by the database's clock.

    They can be armed in the order's own transaction, by `arm_in`, where the order is in the same database: one that is
    rolled back leaves no deadline, one that is committed is never without.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self.traits = database.traits
        self._database = database
        self._waker = Waker()

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many at once."""
        for items in deadline_parts(deadlines):
            self._write("restore" if only_unknown else "arm", items=items)
        self._waker.wake()

    def arm_in(self, connection: Any, deadlines: Iterable[Deadline]) -> None:  # noqa: ANN401 - a driver's, Django's, SQLAlchemy's
        """Arm many in the transaction that `connection` is in; sleepers are woken when it commits.

        `connection` is the driver's own (psycopg or sqlite3), or Django's or SQLAlchemy's around it, to the database
        that has this timer's table: `arms_in` tells, and makes it. Where it raises, roll back.
        """
        for items in deadline_parts(deadlines):
            self._database.write_in(connection, "arm", {"timer": self.name, "items": items})

    def disarm(self, keys: Iterable[str]) -> None:
        """Forget many at once."""
        for items in key_parts(keys):
            self._write("disarm", items=items)

    def disarm_in(self, connection: Any, keys: Iterable[str]) -> None:  # noqa: ANN401 - as above
        """Forget many in the transaction that `connection` is in."""
        for items in key_parts(keys):
            self._database.write_in(connection, "disarm", {"timer": self.name, "items": items})

    def arms_in(self, connection: Any) -> bool:  # noqa: ANN401 - as above
        """Compare what the server says of the table by either connection."""
        theirs = self._database.place_of(connection)
        if theirs is None:
            return False
        own = self._database.place(make=True)
        theirs = self._database.place_of(connection)  # once more: the table may be new
        return theirs == own and own.table is not None

    def is_beside(self, connection: Any) -> bool:  # noqa: ANN401 - as above
        """Compare what the server says of the database by either connection."""
        theirs = self._database.place_of(connection)
        return theirs is not None and theirs.database == self._database.place(make=False).database

    def schema(self, *, drop: bool = False) -> tuple[str, ...]:
        """Give the statements that the first use runs, or those that undo them."""
        return statements(self._database.dialect)["drop" if drop else "schema"]

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Take what is due, or wait for it."""
        if wait > timedelta(0):
            self._database.watch(self.name, self._waker)
        lease_ms = max(lease // MILLISECOND, 1)
        return claim_when_due(lambda: self._take(limit, lease_ms), self._waker, wait.total_seconds())

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Let the leases run from now again."""
        ends: dict[str, int] = {}
        for items in claim_parts(claims):
            ends.update((key, end) for key, end in self._write("renew", items=items, lease=lease // MILLISECOND))
        return [
            Claim(
                claim.key,
                claim.due_at,
                claim.attempt,
                claim.token,
                claim.claimed_at,
                from_milliseconds(ends[claim.key]),
            )
            for claim in claims
            if claim.key in ends
        ]

    def settle(self, claims: Sequence[Claim]) -> int:
        """Forget what is done."""
        return sum(len(self._write("settle", items=items)) for items in claim_parts(claims))

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Give back, for after the delay."""
        delay_ms = -(-delay // MILLISECOND) + bool(delay)  # the clock's own fraction is cut off, so one more
        released = 0
        for items in claim_parts(claims):
            released += len(self._write("release", items=items, delay=delay_ms, forgiven=int(forgive)))
        self._waker.wake()
        return released

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Give up on these."""
        text = reason.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        return sum(len(self._write("bury", items=items, reason=text)) for items in claim_parts(claims))

    def buried(self, limit: int = 100) -> list[Buried]:
        """List what was given up on."""
        rows = self._database.read("buried", {"timer": self.name, "limit": limit})
        return [
            Buried(key, from_milliseconds(due), attempt, reason, from_milliseconds(buried_at))
            for key, due, attempt, reason, buried_at in rows
        ]

    def revive(self, keys: Iterable[str]) -> int:
        """Bring back what was buried, due at once."""
        revived = sum(len(self._write("revive", items=items)) for items in key_parts(keys))
        self._waker.wake()
        return revived

    def stats(self) -> Stats:
        """Count: the rows of this timer are read, all of them."""
        ((now, pending, due, claimed, buried, oldest, upcoming),) = self._database.read("stats", {"timer": self.name})
        return Stats(
            pending=pending,
            due=due,
            claimed=claimed,
            buried=buried,
            oldest_due=None if oldest is None else from_milliseconds(oldest),
            next_due=None if upcoming is None else from_milliseconds(upcoming),
            now=from_milliseconds(now),
        )

    def generation(self) -> str:
        """Name the table's memory by a row in it, and by what the database says of the file that it is in."""
        for _ in range(3):  # somebody may empty the table between the two
            for (name,) in self._database.read("generation", {"timer": self.name}):
                return str(name)
            self._write("begin_generation", epoch=uuid4().hex)
        raise TimerUnavailable("the table lapse_deadline loses its rows as soon as they are written")

    def check(self) -> list[Finding]:
        """Look at the settings that decide whether the database keeps deadlines."""
        return self._database.findings()

    def wake(self) -> None:
        """End a wait."""
        self._waker.interrupt()

    def close(self) -> None:
        """Stop listening and give up the connections."""
        self._waker.interrupt()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, limit: int, lease_ms: int) -> tuple[list[Claim], float | None]:
        """Look, which locks nothing, and claim only where something is due."""
        ((now, at),) = self._database.read("look", {"timer": self.name})
        if at is None:
            return [], None
        if at > now:
            return [], (at - now) / 1000
        claims: list[Claim] = []
        while len(claims) < limit:
            part = min(limit - len(claims), MOST_ROWS)
            try:
                rows = self._write("claim", limit=part, young=part // FRESH_SHARE, lease=lease_ms, epoch=uuid4().hex)
            except TimerUnavailable:
                if not claims:
                    raise
                break  # what was claimed before is held: its lease runs
            claims += _claims(rows)
            if len(rows) < part:
                break
        claims.sort(key=lambda claim: claim.due_at)
        return claims, LOCKED_PAUSE

    def _write(self, statement: str, **parameters: str | int) -> list[Row]:
        return self._database.write(statement, {"timer": self.name, **parameters})


def _claims(rows: Iterable[Row]) -> list[Claim]:
    return [
        Claim(key, from_milliseconds(due), attempt, token, from_milliseconds(now), from_milliseconds(end))
        for key, due, attempt, token, now, end in rows
    ]
