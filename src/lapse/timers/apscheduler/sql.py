"""The job stores of one timer in an SQL database: three of APScheduler's SQLAlchemyJobStore."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from sqlalchemy import Connection, Engine, Table, func, inspect, select

from lapse.engine.errors import TimerError
from lapse.engine.timer import Finding, TimerNames
from lapse.timers.apscheduler.job import timestamp
from lapse.timers.apscheduler.stores import STORES, Counts, Store, Transfer

PLAIN = re.compile(r"[a-z0-9_]{1,40}")
"""Timer names that are used unchanged in a table's name."""

OF_TIMER = f"lapse_{Store.PENDING}_"
"""How the name of a table begins that each timer has."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The differences between the databases.

    `begin` has the statements that begin a transaction with exclusive writing to the timer's tables. `read` has those
    that begin a transaction with a snapshot. Without them the engine commits each statement separately. `translated`
    translates errors into Lapse's errors. `findings` checks the server.
    """

    address: str
    engine: Engine
    begin: Sequence[str]
    read: Sequence[str]
    translated: Callable[[], AbstractContextManager[None]]
    findings: Callable[[Connection], Iterable[Finding]]


class SqlStores:
    """Three job stores, each with a table.

    The library's methods write one job per transaction without a compare-and-set. So transfers use the stores' engine
    and tables directly.
    """

    def __init__(self, dialect: Dialect, name: str) -> None:
        self.address = f"{dialect.address} {name}"
        self._dialect = dialect
        self._engine = dialect.engine
        self._stores = {
            store: SQLAlchemyJobStore(engine=dialect.engine, tablename=f"lapse_{store}_{table_part(name)}")
            for store in STORES
        }
        self._tables: dict[Store, Table] = {store: job_store.jobs_t for store, job_store in self._stores.items()}
        self._process = os.getpid()
        self._ready = False

    def transfer(self, transfers: Sequence[Transfer]) -> set[str]:
        """Move jobs in one transaction; no other process writes meanwhile. Return the ids of the moved jobs."""
        if not transfers:
            return set()
        job_ids = [transfer.job_id for transfer in transfers]
        with self._transaction(self._dialect.begin) as connection:
            stored = {store: self._read(connection, store, job_ids) for store in _involved(transfers)}
            allowed = [transfer for transfer in transfers if _is_allowed(transfer, stored)]
            for store, table in self._tables.items():
                leaving = [transfer.job_id for transfer in allowed if transfer.job_id in stored.get(store, ())]
                if leaving:
                    connection.execute(table.delete().where(table.c.id.in_(leaving)))
                arriving = [
                    {
                        "id": transfer.job_id,
                        "next_run_time": None if transfer.run_at is None else timestamp(transfer.run_at),
                        "job_state": transfer.state,
                    }
                    for transfer in allowed
                    if transfer.target == store
                ]
                if arriving:
                    connection.execute(table.insert(), arriving)
        return {transfer.job_id for transfer in allowed}

    def find(self, store: Store, job_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the states of the jobs that the store has, by id."""
        if not job_ids or not self._exists():
            return {}
        with self._connected() as connection:
            return self._read(connection, store, job_ids)

    def earliest(self) -> datetime | None:
        """Return the earliest run time in the two stores that have run times."""
        with self._prepared():
            times = [self._stores[store].get_next_run_time() for store in (Store.PENDING, Store.CLAIMED)]
        return min((time for time in times if time is not None), default=None)

    def due(self, store: Store, now: int, limit: int, *, newest: bool = False) -> list[bytes]:
        """Return the states of the oldest, or the newest, due jobs."""
        jobs = self._tables[store].c
        # Not by id as well: to sort a burst that is due at one instant, the database would read all of the burst.
        order = jobs.next_run_time.desc() if newest else jobs.next_run_time
        query = select(jobs.job_state).where(jobs.next_run_time <= timestamp(now)).order_by(order).limit(limit)
        with self._connected() as connection:
            return list(connection.execute(query).scalars())

    def buried(self) -> list[bytes]:
        """Return the states of all buried jobs."""
        if not self._exists():
            return []
        with self._connected() as connection:
            return list(connection.execute(select(self._tables[Store.BURIED].c.job_state)).scalars())

    def counts(self, now: int) -> Counts:
        """Return the counts at one moment. The database reads all rows of the timer."""
        if not self._exists():
            return Counts(pending=0, due=0, claimed=0, buried=0, oldest=None, upcoming=None, ended=[])
        at = timestamp(now)
        pending, claimed = self._tables[Store.PENDING].c, self._tables[Store.CLAIMED].c
        later = func.min(pending.next_run_time).filter(pending.next_run_time > at)
        due = func.count(pending.next_run_time).filter(pending.next_run_time <= at)
        first = func.min(pending.next_run_time).filter(pending.next_run_time <= at)
        with self._transaction(self._dialect.read) as connection:
            row = connection.execute(select(func.count(pending.next_run_time), due, first, later)).one()
            held = connection.execute(select(func.count()).select_from(self._tables[Store.CLAIMED])).scalar_one()
            buried = connection.execute(select(func.count()).select_from(self._tables[Store.BURIED])).scalar_one()
            ended = connection.execute(select(claimed.job_state).where(claimed.next_run_time <= at)).scalars().all()
        return Counts(
            pending=row[0],
            due=row[1],
            claimed=held,
            buried=buried,
            oldest=None if row[2] is None else round(row[2] * 1000),
            upcoming=None if row[3] is None else round(row[3] * 1000),
            ended=list(ended),
        )

    def server_generation(self) -> str:
        """Return "": a restart of a database loses no committed job."""
        return ""

    def names(self) -> TimerNames:
        """Return whether the timer has tables, and if not, which timers have. Creates no table.

        Of a name that a table's name cannot contain, only the beginning is known, which ends with "…".
        """
        if self._exists():
            return TimerNames(known=True)
        with self._on_own_connections():
            tables = inspect(self._engine).get_table_names()
        parts = [table.removeprefix(OF_TIMER) for table in tables if table.startswith(OF_TIMER)]
        others = [part if PLAIN.fullmatch(part) else f"{part.rpartition('-')[0]}…" for part in parts]
        return TimerNames(known=False, others=tuple(sorted(others)))

    def findings(self) -> Iterable[Finding]:
        """Return findings about what a crash would lose. Raises TimerRefused if missing tables could not be created."""
        with self._on_own_connections():
            if not self._exists():
                self._create(end="ROLLBACK")
        with self._on_own_connections(), self._engine.connect() as connection:
            return list(self._dialect.findings(connection))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _read(self, connection: Connection, store: Store, job_ids: Sequence[str]) -> dict[str, bytes]:
        jobs = self._tables[store].c
        rows = connection.execute(select(jobs.id, jobs.job_state).where(jobs.id.in_(job_ids)))
        return {job_id: state for job_id, state in rows}  # noqa: C416 - to a type checker, rows are no pairs

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
                connection.invalidate()  # the database rolls the transaction back
                raise

    def _exists(self) -> bool:
        """Return whether the timer has tables. A command that only reads creates none."""
        if self._ready:
            return True
        with self._on_own_connections():
            return inspect(self._engine).has_table(self._tables[Store.PENDING].name)

    @contextmanager
    def _on_own_connections(self) -> Iterator[None]:
        """Translate errors for a block, in which the engine uses no connection of a parent process."""
        with self._dialect.translated():
            if self._process != os.getpid():
                self._process = os.getpid()
                self._engine.dispose(close=False)  # the connections belong to the parent process
            yield

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        """Create missing tables for a block: an operator may have dropped them, or replaced the SQLite file."""
        with self._on_own_connections():
            if not self._ready:
                self._create(end="COMMIT")
                self._ready = True
            try:
                yield
            except Exception:
                self._ready = False
                raise

    def _create(self, *, end: str) -> None:
        """Create missing tables in a transaction. If it ends with ROLLBACK, this was only a trial of the rights."""
        with self._engine.connect() as connection:
            try:
                for statement in self._dialect.begin:
                    connection.exec_driver_sql(statement)
                for table in self._tables.values():
                    table.create(connection, checkfirst=True)
                connection.exec_driver_sql(end)
            except BaseException:
                connection.invalidate()
                raise


def table_part(name: str) -> str:
    """Return the timer's part of its table names: its name, or a digest if a table name cannot contain the name."""
    if PLAIN.fullmatch(name):
        return name
    return f"{re.sub('[^a-z0-9]', '_', name.lower())[:24]}-{sha256(name.encode()).hexdigest()[:12]}"


def _involved(transfers: Sequence[Transfer]) -> set[Store]:
    """Return the stores to read, to know whether the transfers are allowed and where the jobs are."""
    sources = {transfer.source for transfer in transfers}
    return set(STORES) if sources & {Store.ANY, Store.NONE} else sources


def _is_allowed(transfer: Transfer, stored: dict[Store, dict[str, bytes]]) -> bool:
    """Return whether the transfer's condition holds."""
    if transfer.source == Store.ANY:
        return True
    if transfer.source == Store.NONE:
        return not any(transfer.job_id in jobs for jobs in stored.values())
    return stored[transfer.source].get(transfer.job_id) == transfer.expected


def reraised(error: BaseException | None, translated: AbstractContextManager[None]) -> TimerError:
    """Return the driver error inside an error of SQLAlchemy, translated."""
    try:
        with translated:
            raise error or AssertionError("SQLAlchemy has wrapped nothing")
    except TimerError as own:
        return own
