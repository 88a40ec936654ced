"""Reads when the orders lapse. A row that cannot be read is left out and named, so that it stops no other row."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import connections
from django.db.models import DateTimeField, Func, Model, Q, QuerySet

from lapse.engine.deadline import Deadline
from lapse.engine.errors import InvalidDeadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

    from lapse.integrations.django.rows.lapse_time import LapseTime
    from lapse.integrations.django.rows.order_keys import OrderKeys

M = TypeVar("M", bound=Model)

STREAM_ROWS = 2000
"""How many rows a long read fetches from the database at a time."""

NO_TIME = "its deadline is no time that Python can read: correct the column, or set it to NULL"


class DeadlineReads(Generic[M]):
    """When the unpaid orders in `table()` lapse.

    With `repeats`, the condition `unpaid` joins rows of other tables, so that an order may come several times.
    """

    def __init__(
        self,
        table: Callable[[], QuerySet[M]],
        unpaid: Q,
        deadline: LapseTime,
        keys: OrderKeys,
        *,
        repeats: bool,
    ) -> None:
        self._table = table
        self._unpaid = unpaid
        self._deadline = deadline
        self._keys = keys
        self._repeats = repeats
        # Key → reason, of the rows that could not be read. They are left out until `unreadable` has looked again.
        self._wrong: dict[Any, str] = {}

    def columns(self, using: str) -> list[Any]:
        """Return the deadline's columns, to be read for `due_at`. What is stored there and is no time becomes None.

        PostgreSQL stores times only; those that Python cannot read are outside of `readable()`.
        """
        if connections[using].vendor == "postgresql":
            return list(self._deadline.columns)
        return [_Lenient(name) for name in self._deadline.columns]

    def overdue(
        self, limit: int, *, where: Q | None = None, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> list[Deadline]:
        """Return unpaid orders that match `where`, whose deadline passed `grace` ago, oldest first, after `after`."""
        rows = self._table().filter(self._unpaid).filter(self._deadline.passed(grace))
        if where:
            rows = rows.filter(where)
        if after is not None:
            rows = rows.filter(
                self._deadline.beyond(after.due_at, self._keys.name, self._keys.field.to_python(after.key))
            )
        sorting: Any = self._deadline.sorting
        if where or self._repeats:  # an order with two rows that match in another table would come twice
            rows = rows.distinct()  # Django reads what it sorts by
            if isinstance(sorting, str) and connections[rows.db].vendor != "postgresql":
                sorting = _Lenient(sorting)
        # By the column: by a foreign key's name, Django would sort as the other model's Meta.ordering says.
        rows = rows.order_by(sorting, self._keys.column)
        while True:
            wrong = dict(self._wrong)
            found = list(self._read(self._values(self._without(rows, wrong))[:limit]))
            if len(found) == limit or self._wrong.keys() <= wrong.keys():
                return found

    def deadlines(self, where: Q | None = None) -> Iterator[Deadline]:
        """Yield the deadlines of the unpaid orders; with `where`, of all orders that match it, unpaid or not."""
        rows = self._table().filter(self._unpaid if where is None else where).filter(self._deadline.readable())
        found = self._values(rows.order_by())
        found = found.distinct() if self._repeats else found
        yield from self._read(found.iterator(chunk_size=STREAM_ROWS))

    def unreadable(self, limit: int) -> dict[str, str]:
        """Return up to `limit` unpaid orders that cannot lapse because of what is stored: the reason by their key."""
        unpaid = self._table().filter(self._unpaid).order_by()
        again, self._wrong = self._wrong, {}
        if again:
            rows = unpaid.filter(self._deadline.readable()).filter(**{f"{self._keys.name}__in": list(again)})
            for _ in self._read(self._values(rows)):
                pass  # it can be read now
        found = {str(key) or "''": reason for key, reason in self._wrong.items()}
        for outside in self._deadline.unreadable():
            keys = unpaid.filter(outside).values_list(self._keys.column, flat=True)[:limit]
            found |= dict.fromkeys(map(str, keys), NO_TIME)
        return dict(list(found.items())[:limit])

    def _values(self, rows: QuerySet[M]) -> QuerySet[M, Any]:
        return rows.values_list(self._keys.column, *self.columns(rows.db))

    def _without(self, rows: QuerySet[M], wrong: dict[Any, str]) -> QuerySet[M]:
        return rows.exclude(**{f"{self._keys.name}__in": list(wrong)}) if wrong else rows

    def _read(self, rows: Iterable[Any]) -> Iterator[Deadline]:
        """Yield the rows' deadlines; remember which rows have none, or a key that no timer can store."""
        for key, *read in rows:
            due_at = self._deadline.due_at(*read)
            try:
                if due_at is None:
                    self._wrong[key] = NO_TIME
                else:
                    yield Deadline(str(key), due_at)
            except InvalidDeadline as error:
                self._wrong[key] = str(error)


class _LenientTime(DateTimeField):  # type: ignore[type-arg] # generic in the stubs only
    """Reads what is no time as None. SQLite stores any text in the column, MySQL dates without a day or a month."""

    def get_internal_type(self) -> str:
        """Return a name for which Django has no conversion of its own, so that it leaves the value to this class."""
        return "LenientTime"

    def from_db_value(self, value: object, expression: Any, connection: Any) -> datetime | None:  # noqa: ANN401 - Django's signature
        """Return the value as Django reads it, or None."""
        try:
            read = connection.ops.convert_datetimefield_value(value, expression, connection)
        except (AttributeError, TypeError, ValueError):  # depends on the driver, and on what is stored
            return None
        return read if isinstance(read, datetime) else None


class _Lenient(Func):
    """A column of times, read by `_LenientTime`. The plus sign keeps Python's sqlite3 from reading it by its own."""

    template = "%(expressions)s"
    output_field: Any = _LenientTime()

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: object) -> Any:  # noqa: ANN401 - Django's signature
        """Return the column as an expression, which has no declared type."""
        return self.as_sql(compiler, connection, template="+%(expressions)s")
