"""SQL statements, each in a file of its own, run on the connection of the current transaction."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django.db import connection

BASE = Path(__file__).resolve().parent


@cache
def statement(name: str) -> str:
    """Read a statement: `orders/reserve` is shop/orders/sql/reserve.sql."""
    app, _, file = name.partition("/")
    return (BASE / app / "sql" / f"{file}.sql").read_text()


def run(name: str, parameters: Mapping[str, Any]) -> int:
    """Execute the statement; give how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(statement(name), parameters)
        return int(cursor.rowcount)


def rows(name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Execute the statement; give the rows it returned."""
    with connection.cursor() as cursor:
        cursor.execute(statement(name), parameters)
        return list(cursor.fetchall())
