"""The shop's database: its clock, one snapshot for many reads, and SQL statements that stand in files of their own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from django.db import connection, transaction

SHOP = Path(__file__).resolve().parent


def database_now() -> datetime:
    """Return the time of the database's clock, in UTC. It is the only clock of the shop."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Let all reads in the block see the same moment, so that their numbers agree however busy the shop is.

    Not to be entered in a transaction.
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@cache
def statement(name: str) -> str:
    """Return the text of a statement: `orders/reserve` is shop/orders/sql/reserve.sql."""
    app, _, file = name.partition("/")
    return (SHOP / app / "sql" / f"{file}.sql").read_text()


def run(name: str, parameters: Mapping[str, Any]) -> int:
    """Execute the statement in the current transaction and return how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement(name), parameters)
        return int(cursor.rowcount)


def rows(name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Execute the statement in the current transaction and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement(name), parameters)
        return list(cursor.fetchall())
