"""Several shops in the schemas of one PostgreSQL: the same models, the same primary keys, one Redis."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import connection

from lapse.orders import OrderBatch
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.models import Line, Order, PayAttempt, Product

SCHEMAS = ("tea", "rice")


class TenantOrders(AdopterOrders):
    """The timer's name says in which schema the connection looks for tables."""

    @property
    def name(self) -> str:  # type: ignore[override] # a class variable in the base class
        """The name of the current tenant's timer."""
        return f"orders-{current_schema()}"


def current_schema() -> str:
    """Return the schema in which the connection looks for tables first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        (schema,) = cursor.fetchone()
    return str(schema)


def look_in(schemas: str) -> None:
    """Let the connection look for tables in these schemas."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path TO {schemas}")


@contextmanager
def made(schemas: Sequence[str]) -> Iterator[None]:
    """Make schemas with empty tables of their own, and drop them at the end."""
    with connection.cursor() as cursor:
        for schema in schemas:
            cursor.execute(f"CREATE SCHEMA {schema}")
            for model in (Product, Order, Line, PayAttempt):
                table = model._meta.db_table
                cursor.execute(f"CREATE TABLE {schema}.{table} (LIKE public.{table} INCLUDING ALL)")
    try:
        yield
    finally:
        look_in("public")
        with connection.cursor() as cursor:
            for schema in schemas:
                cursor.execute(f"DROP SCHEMA {schema} CASCADE")


@contextmanager
def tenant(schema: str) -> Iterator[None]:
    """Be this tenant for the block, and the tenant before it afterwards."""
    before = current_schema()
    look_in(schema)
    try:
        yield
    finally:
        look_in(before)


def fail(orders: OrderBatch[Order]) -> None:
    """Stand in for a hook that fails."""
    raise RuntimeError(f"no stock for {orders!r}")
