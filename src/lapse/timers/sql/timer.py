"""A timer in a table of an SQL database: the code that is the same for every dialect.

The deadlines of all timers are rows of one table, `lapse_deadline`, which is created on first use. The statements of
each dialect are in `dialects/`. The rest of a dialect, its driver and the way it wakes claims, is a `Database`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4

from lapse.engine.deadline import MILLISECOND, Buried, Claim, Deadline, from_milliseconds
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import FRESH_SHARE, LEASE, Finding, Stats, TimerNames
from lapse.engine.waiting import claim_when_due
from lapse.engine.waker import Waker
from lapse.timers.sql.batches import MOST_ROWS, claim_parts, deadline_parts, key_parts
from lapse.timers.sql.database import Database, Row
from lapse.timers.sql.statements import statements

LOCKED_PAUSE = 0.01
"""Seconds until the next look if another claimant, which will commit soon, has locked all due rows."""


class SqlTimer:
    """Deadlines in a table, claimed under leases, by the database's clock.

    If the order is in the same database, `arm_in` arms its deadline in the order's transaction. An order that is rolled
    back leaves no deadline, and a committed order always has a deadline.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self.traits = database.traits
        self._database = database
        self._waker = Waker()

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many deadlines at once."""
        for items in deadline_parts(deadlines):
            self._write("restore" if only_unknown else "arm", items=items)
        self._waker.wake()

    def arm_in(self, connection: Any, deadlines: Iterable[Deadline]) -> None:  # noqa: ANN401 - a driver's, Django's, SQLAlchemy's
        """Arm many deadlines in the current transaction of `connection`. Its commit wakes the claims that wait.

        `connection` is the driver's, Django's or SQLAlchemy's. It must be to the database with this timer's table:
        `arms_in` checks that and creates the table. After an exception, roll back.
        """
        for items in deadline_parts(deadlines):
            self._database.write_in(connection, "arm", {"timer": self.name, "items": items})

    def disarm(self, keys: Iterable[str]) -> None:
        """Forget many keys at once."""
        for items in key_parts(keys):
            self._write("disarm", items=items)

    def disarm_in(self, connection: Any, keys: Iterable[str]) -> None:  # noqa: ANN401 - as above
        """Forget many keys in the current transaction of `connection`."""
        for items in key_parts(keys):
            self._database.write_in(connection, "disarm", {"timer": self.name, "items": items})

    def arms_in(self, connection: Any) -> bool:  # noqa: ANN401 - as above
        """Return whether `connection` writes to this timer's table. Creates the table."""
        if self._database.location_of(connection) is None:
            return False
        own = self._database.location(make=True)
        # Read again, because the table may be new.
        return self._database.location_of(connection) == own and own.table is not None

    def is_beside(self, connection: Any) -> bool:  # noqa: ANN401 - as above
        """Return whether `connection` is to this timer's database. Creates nothing."""
        location = self._database.location_of(connection)
        return location is not None and location.database == self._database.location(make=False).database

    def schema(self, *, drop: bool = False) -> tuple[str, ...]:
        """Return the statements that create the table, or with `drop` those that remove it."""
        return statements(self._database.dialect)["drop" if drop else "schema"]

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Return claims on due deadlines. If none is due, wait until one is."""
        if wait > timedelta(0):
            self._database.watch(self.name, self._waker)
        lease_ms = max(lease // MILLISECOND, 1)
        return claim_when_due(lambda: self._take(limit, lease_ms), self._waker, wait.total_seconds())

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Restart the leases now. Return the renewed claims, without those whose lease had already ended."""
        ends: dict[str, int] = {}
        for items in claim_parts(claims):
            ends.update((key, end) for key, end in self._write("renew", items=items, lease=lease // MILLISECOND))
        return [
            replace(claim, leased_until=from_milliseconds(ends[claim.key])) for claim in claims if claim.key in ends
        ]

    def settle(self, claims: Sequence[Claim]) -> int:
        """Forget the deadlines of these claims. Return how many claims were still held."""
        return sum(len(self._write("settle", items=items)) for items in claim_parts(claims))

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Make these deadlines pending again, after the delay. Return how many claims were still held."""
        delay_ms = -(-delay // MILLISECOND) + bool(delay)  # the server's clock is rounded down, so one more
        released = 0
        for items in claim_parts(claims):
            released += len(self._write("release", items=items, delay=delay_ms, forgiven=int(forgive)))
        self._waker.wake()
        return released

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Bury these deadlines. Return how many claims were still held."""
        text = reason.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        return sum(len(self._write("bury", items=items, reason=text)) for items in claim_parts(claims))

    def buried(self, limit: int = 100) -> list[Buried]:
        """Return the buried deadlines, the longest buried first."""
        rows = self._database.read("buried", {"timer": self.name, "limit": limit})
        return [
            Buried(key, from_milliseconds(due), attempt, reason, from_milliseconds(buried_at))
            for key, due, attempt, reason, buried_at in rows
        ]

    def revive(self, keys: Iterable[str]) -> int:
        """Make buried deadlines pending and due at once. Return how many were buried."""
        revived = sum(len(self._write("revive", items=items)) for items in key_parts(keys))
        self._waker.wake()
        return revived

    def stats(self) -> Stats:
        """Return the counts. Reads all rows of this timer."""
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

    def names(self) -> TimerNames:
        """Return whether the table has a row of this timer, or of its generation; if not, of which others."""
        if self._database.read("generation", {"timer": self.name}):
            return TimerNames(known=True)
        names = [str(name) for (name,) in self._database.read("names", {})]
        if self.name in names:
            return TimerNames(known=True)
        return TimerNames(known=False, others=tuple(names))

    def generation(self) -> str:
        """Return a name that changes when the table may have lost rows.

        It consists of a random name in a row of the table, and an identifier of the table's file or of the server.
        """
        for _ in range(3):  # another process may empty the table between the two statements
            for (name,) in self._database.read("generation", {"timer": self.name}):
                return str(name)
            self._write("begin_generation", generation=uuid4().hex)
        raise TimerUnavailable("the table lapse_deadline loses its rows as soon as they are written")

    def check(self) -> list[Finding]:
        """Return findings on whether the database keeps deadlines."""
        return self._database.findings()

    def wake(self) -> None:
        """End a wait."""
        self._waker.interrupt()

    def close(self) -> None:
        """Stop watching and close the connections."""
        self._waker.interrupt()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, limit: int, lease_ms: int) -> tuple[list[Claim], float | None]:
        """Return up to `limit` claims, and the seconds until the next look; None if no deadline is known.

        The look locks no rows. The claiming statement runs only if a deadline is due.
        """
        ((now, at),) = self._database.read("look", {"timer": self.name})
        if at is None:
            return [], None
        if at > now:
            return [], (at - now) / 1000
        claims: list[Claim] = []
        while len(claims) < limit:
            part = min(limit - len(claims), MOST_ROWS)
            try:
                rows = self._write(
                    "claim", limit=part, young=part // FRESH_SHARE, lease=lease_ms, generation=uuid4().hex
                )
            except TimerUnavailable:
                if not claims:
                    raise
                break  # return the earlier parts: their leases have begun
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
