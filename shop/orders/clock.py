"""The one clock of the shop: the database's."""

from datetime import datetime

from django.db import connection


def database_now() -> datetime:
    """Tell the time, in UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now
