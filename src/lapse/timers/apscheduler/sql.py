"""The job stores of one timer in an SQL database: APScheduler's SQLAlchemyJobStore, three times."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from sqlalchemy import Connection, Engine, Table, func, select

from lapse.engine.errors import TimerError
from lapse.engine.timer import Finding
from lapse.timers.apscheduler.job import timestamp
from lapse.timers.apscheduler.stores import STORES, Figures, Move, Place

PLAIN = re.compile(r"[a-z0-9_]{1,40}")
"""Names of timers that go into a table's name as they are."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the databases.

    `begin` begins a transaction that has the timer's tables to itself, `read` one that sees one moment. Both are
    needed because the engine commits each statement by itself otherwise. `translated` turns errors into the timer's,
    `findings` looks at the server.
    """

    address: str
    engine: Engine
    begin: Sequence[str]
    read: Sequence[str]
    translated: Callable[[], AbstractContextManager[None]]
    findings: Callable[[Connection], Iterable[Finding]]


class SqlJobs:
    """A table per store.

    The stores' own methods write one job in one transaction and do not compare. Moves go through the engine that the
    stores have, into the tables that they have.
    """

    def __init__(self, dialect: Dialect, name: str) -> None:
        self.address = f"{dialect.address} {name}"
        self._dialect = dialect
        self._engine = dialect.engine
        self._stores = {
            place: SQLAlchemyJobStore(engine=dialect.engine, tablename=f"lapse_{place}_{table_part(name)}")
            for place in STORES
        }
        self._tables: dict[Place, Table] = {place: store.jobs_t for place, store in self._stores.items()}
        self._process = os.getpid()
        self._ready = False

    def move(self, moves: Sequence[Move]) -> set[str]:
        """Move in one transaction: nobody else writes to these tables meanwhile."""
        if not moves:
            return set()
        with self._transaction(self._dialect.begin) as connection:
            held = {place: self._read(connection, place, [move.job_id for move in moves]) for place in _involved(moves)}
            free = [move for move in moves if _is_free(move, held)]
            for place, table in self._tables.items():
                gone = [move.job_id for move in free if move.job_id in held.get(place, ())]
                if gone:
                    connection.execute(table.delete().where(table.c.id.in_(gone)))
                come = [
                    {
                        "id": move.job_id,
                        "next_run_time": None if move.run_at is None else timestamp(move.run_at),
                        "job_state": move.state,
                    }
                    for move in free
                    if move.target == place
                ]
                if come:
                    connection.execute(table.insert(), come)
        return {move.job_id for move in free}

    def find(self, place: Place, job_ids: Sequence[str]) -> dict[str, bytes]:
        """Read some."""
        if not job_ids:
            return {}
        with self._connected() as connection:
            return self._read(connection, place, job_ids)

    def earliest(self) -> datetime | None:
        """Ask both stores that have times."""
        with self._prepared():
            times = [self._stores[place].get_next_run_time() for place in (Place.PENDING, Place.CLAIMED)]
        return min((time for time in times if time is not None), default=None)

    def due(self, place: Place, now: int, limit: int, *, newest: bool = False) -> list[bytes]:
        """Read the first or the last of those due."""
        jobs = self._tables[place].c
        order = (jobs.next_run_time.desc(), jobs.id.desc()) if newest else (jobs.next_run_time, jobs.id)
        query = select(jobs.job_state).where(jobs.next_run_time <= timestamp(now)).order_by(*order).limit(limit)
        with self._connected() as connection:
            return list(connection.execute(query).scalars())

    def buried(self) -> list[bytes]:
        """Read all of that store."""
        with self._connected() as connection:
            return list(connection.execute(select(self._tables[Place.BURIED].c.job_state)).scalars())

    def figures(self, now: int) -> Figures:
        """Count what is there at one moment: all rows of the timer are read."""
        at = timestamp(now)
        pending, claimed = self._tables[Place.PENDING].c, self._tables[Place.CLAIMED].c
        later = func.min(pending.next_run_time).filter(pending.next_run_time > at)
        due = func.count(pending.next_run_time).filter(pending.next_run_time <= at)
        first = func.min(pending.next_run_time).filter(pending.next_run_time <= at)
        with self._transaction(self._dialect.read) as connection:
            row = connection.execute(select(func.count(pending.next_run_time), due, first, later)).one()
            held = connection.execute(select(func.count()).select_from(self._tables[Place.CLAIMED])).scalar_one()
            graves = connection.execute(select(func.count()).select_from(self._tables[Place.BURIED])).scalar_one()
            ended = connection.execute(select(claimed.job_state).where(claimed.next_run_time <= at)).scalars().all()
        return Figures(
            pending=row[0],
            due=row[1],
            claimed=held,
            buried=graves,
            oldest=None if row[2] is None else round(row[2] * 1000),
            upcoming=None if row[3] is None else round(row[3] * 1000),
            ended=list(ended),
        )

    def identity(self) -> str:
        """Name nothing: what a database has committed outlives its process."""
        return ""

    def findings(self) -> Iterable[Finding]:
        """Look at what a crash would lose."""
        with self._connected() as connection:
            return list(self._dialect.findings(connection))

    def close(self) -> None:
        """Give up the connections."""
        self._engine.dispose()

    def _read(self, connection: Connection, place: Place, job_ids: Sequence[str]) -> dict[str, bytes]:
        jobs = self._tables[place].c
        rows = connection.execute(select(jobs.id, jobs.job_state).where(jobs.id.in_(job_ids)))
        return {job_id: state for job_id, state in rows}  # noqa: C416 - rows are no pairs to a type checker

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self._prepared(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: Sequence[str]) -> Iterator[Connection]:
        with self._connected() as connection:
            try:
                for statement in begin:
                    connection.exec_driver_sql(statement)
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                connection.invalidate()  # the database rolls back what it was in
                raise

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        """Make the tables where there are none: they may have been dropped, or another file come in the place."""
        with self._dialect.translated():
            if self._process != os.getpid():
                self._process = os.getpid()
                self._engine.dispose(close=False)  # a parent's connections are the parent's
            if not self._ready:
                self._prepare()
            try:
                yield
            except Exception:
                self._ready = False
                raise

    def _prepare(self) -> None:
        with self._engine.connect() as connection:
            try:
                for statement in self._dialect.begin:
                    connection.exec_driver_sql(statement)
                for table in self._tables.values():
                    table.create(connection, checkfirst=True)
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                connection.invalidate()
                raise
        self._ready = True


def table_part(name: str) -> str:
    """Give what a timer's tables are called after: its name, or a digest where a table's name cannot have it."""
    if PLAIN.fullmatch(name):
        return name
    return f"{re.sub('[^a-z0-9]', '_', name.lower())[:24]}-{sha256(name.encode()).hexdigest()[:12]}"


def _involved(moves: Sequence[Move]) -> set[Place]:
    """The stores in which these may be, as far as it matters."""
    sources = {move.source for move in moves}
    return set(STORES) if sources & {Place.ANY, Place.NONE} else sources


def _is_free(move: Move, held: dict[Place, dict[str, bytes]]) -> bool:
    """Whether the move's condition holds."""
    if move.source == Place.ANY:
        return True
    if move.source == Place.NONE:
        return not any(move.job_id in jobs for jobs in held.values())
    return held[move.source].get(move.job_id) == move.expected


def reraised(error: BaseException | None, translated: AbstractContextManager[None]) -> TimerError:
    """Give what the driver's own translation makes of the error inside one of SQLAlchemy's."""
    try:
        with translated:
            raise error or AssertionError("SQLAlchemy has wrapped nothing")
    except TimerError as meaning:
        return meaning
