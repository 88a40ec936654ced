"""Runs orders on PostgreSQL, MariaDB and SQLite: the tables of `wirings` are in the database that a test chooses."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from django.apps import apps
from django.db import connections, models, router, transaction

from lapse.integrations.django.models import Window
from lapse.testing.servers import MariaDbServer, PostgresServer
from tests.timers.databases import NEEDS_MARIADB

KINDS = ["postgresql", pytest.param("mariadb", marks=NEEDS_MARIADB), "sqlite"]
WITH_ROW_LOCKS = ["postgresql", pytest.param("mariadb", marks=NEEDS_MARIADB)]

ALIAS = "wirings"
"""The alias of the chosen database while a test uses it."""


class WiringsRouter:
    """Sends the models of `wirings` to the chosen database."""

    def db_for_read(self, model: type[models.Model], **_: object) -> str | None:
        """Return the alias, or None for the models of other applications."""
        return ALIAS if model._meta.app_label == "wirings" else None

    db_for_write = db_for_read


@contextmanager
def made(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[dict[str, Any]]:
    """Have an empty database of this kind, for other tables; yield what DATABASES says of it."""
    address = _address(kind, request, folder)
    if kind != "sqlite":
        connections.settings[ALIAS] = connections.configure_settings({"default": {}, ALIAS: address})[ALIAS]
        try:
            with connections[ALIAS].cursor() as cursor:
                STANDING[kind].made = None
                STANDING[kind].state(cursor)  # ends the sessions of other tests
                STANDING[kind].remove(cursor)
        finally:
            connections[ALIAS].close()
            del connections[ALIAS]
            del connections.settings[ALIAS]
    yield address


@contextmanager
def chosen(kind: str, request: pytest.FixtureRequest, folder: Path, **settings: Any) -> Iterator[str]:
    """Have empty tables of `wirings` in a database of this kind, and send their models to it; yield its alias.

    `settings` are further settings of the database, such as OPTIONS and TIME_ZONE. Of modules beside `models`, only
    those have tables from which the test's module imports a model. The table of windows is there too.
    """
    address = _address(kind, request, folder)
    connections.settings[ALIAS] = connections.configure_settings({"default": {}, ALIAS: address | settings})[ALIAS]
    connection = connections[ALIAS]
    modules = {getattr(value, "__module__", "") for value in vars(request.module).values()}
    modules.add("tests.django.wirings.models")
    all_models = apps.get_app_config("wirings").get_models()
    own = [model for model in all_models if model.__module__ in modules and not model._meta.proxy]
    own.append(Window)
    overrides = pytest.MonkeyPatch()
    overrides.setattr(router, "routers", [WiringsRouter()])
    try:
        statements = _statements(kind, tuple(own))
        with connection.cursor() as cursor:
            if kind == "sqlite":
                _make(cursor, statements)
            else:
                _make_or_empty(STANDING[kind], cursor, statements)
        yield ALIAS
    finally:
        overrides.undo()
        connection.close()
        del connections[ALIAS]
        del connections.settings[ALIAS]


@cache
def _statements(kind: str, tables: tuple[type[models.Model], ...]) -> list[str]:
    """Return what makes these tables. Django takes longer to find the words than a database to make the tables."""
    with warnings.catch_warnings(), connections[ALIAS].schema_editor(collect_sql=True) as editor:
        warnings.filterwarnings("ignore", "MariaDB does not support")
        for model in tables:
            editor.create_model(model)
    # Each statement is a round trip; PostgreSQL takes all in one, where they have no parameters.
    return ["\n".join(editor.collected_sql)] if kind == "postgresql" else editor.collected_sql


def _make(cursor: Any, statements: list[str]) -> None:
    with transaction.atomic(ALIAS):
        for statement in statements:
            cursor.execute(statement)


@dataclass
class Standing:
    """The tables that stand in a server's database `wirings`: for how they were made, and what was seen then.

    To make tables takes a server a tenth of a second of computing, to empty them a hundredth of that. A test that
    has changed a table, or had it analysed, leaves another state: then all are made again.
    """

    state: Callable[[Any], object]
    remove: Callable[[Any], None]
    empty: Callable[[Any], None]
    made: tuple[str, list[str], object] | None = None


def _make_or_empty(standing: Standing, cursor: Any, statements: list[str]) -> None:
    server = str(cursor.db.settings_dict["HOST"] + cursor.db.settings_dict["PORT"])
    if standing.made == (server, statements, standing.state(cursor)):
        standing.empty(cursor)
        return
    standing.made = None
    standing.remove(cursor)
    _make(cursor, statements)
    standing.made = (server, statements, standing.state(cursor))


def _postgresql_state(cursor: Any) -> object:
    """Return what each change of a table, an index, a function or a right changes, and each analysis of a table."""
    # No session of another test may hold a lock here.
    cursor.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    catalogs = {
        "pg_class": "oid",
        "pg_attribute": "attrelid",
        "pg_index": "indexrelid",
        "pg_constraint": "oid",
        "pg_trigger": "oid",
        "pg_proc": "oid",
        "pg_namespace": "oid",
    }
    rows = " UNION ALL ".join(
        f"SELECT xmin::text::bigint AS changed FROM {name} WHERE {key} >= 16384"  # noqa: S608 - the names above
        for name, key in catalogs.items()
    )
    analysed = "SELECT max(reltuples) FROM pg_class WHERE oid >= 16384 AND relkind = 'r'"
    cursor.execute(f"SELECT count(*), max(changed), ({analysed}) FROM ({rows}) AS objects")  # noqa: S608 - as above
    return cursor.fetchone()


def _remove_from_postgresql(cursor: Any) -> None:
    cursor.execute("SELECT nspname FROM pg_namespace WHERE oid >= 16384 OR nspname = 'public'")
    for (name,) in cursor.fetchall():
        cursor.execute(f'DROP SCHEMA "{name}" CASCADE')
    cursor.execute("CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")


def _empty_postgresql(cursor: Any) -> None:
    """Delete all rows in one transaction, at whose end the foreign keys are checked; keys begin with 1 again."""
    cursor.execute("SELECT relkind, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    words = {"r": 'DELETE FROM "{}"', "S": """SELECT setval('"{}"', 1, false)"""}
    cursor.execute("; ".join(words[kind].format(name) for kind, name in cursor.fetchall() if kind in words))


def _mariadb_state(cursor: Any) -> object:
    """Return how each table would be made now, and the triggers."""
    cursor.execute("SHOW TABLES")
    found = []
    for (name,) in cursor.fetchall():
        cursor.execute(f"SHOW CREATE TABLE `{name}`")
        found.append(re.sub(r" AUTO_INCREMENT=\d+", "", cursor.fetchone()[1]))
    cursor.execute("SHOW TRIGGERS")
    return found, cursor.fetchall()


def _remove_from_mariadb(cursor: Any) -> None:
    cursor.execute("DROP DATABASE wirings")
    cursor.execute("CREATE DATABASE wirings CHARACTER SET utf8mb4")
    cursor.execute("USE wirings")


def _empty_mariadb(cursor: Any) -> None:
    """Delete all rows. Keys begin with 1 again in those tables that had rows."""
    cursor.execute("SET foreign_key_checks = 0")
    cursor.execute("SHOW TABLES")
    for (name,) in cursor.fetchall():
        if cursor.execute(f"DELETE FROM `{name}`"):  # noqa: S608 - a table of `wirings`
            cursor.execute(f"ALTER TABLE `{name}` AUTO_INCREMENT = 1")
    cursor.execute("SET foreign_key_checks = 1")


STANDING = {
    "postgresql": Standing(_postgresql_state, _remove_from_postgresql, _empty_postgresql),
    "mariadb": Standing(_mariadb_state, _remove_from_mariadb, _empty_mariadb),
}


def _address(kind: str, request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """Return what DATABASES says of the database, which is there afterwards."""
    if kind == "sqlite":
        options = {"transaction_mode": "IMMEDIATE", "timeout": 30}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "wirings.sqlite3"), "OPTIONS": options}
    if kind == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        _create_on_postgresql(postgres)
        host = str(postgres.sockets)
        return {"ENGINE": "django.db.backends.postgresql", "USER": "postgres", "HOST": host, "NAME": "wirings"}
    mariadb: MariaDbServer = request.getfixturevalue("mariadb")
    pymysql.install_as_MySQLdb()
    _create_on_mariadb(mariadb)
    return {
        "ENGINE": "django.db.backends.mysql",
        "USER": "root",
        "HOST": "127.0.0.1",
        "PORT": str(mariadb.port),
        "NAME": "wirings",
        "OPTIONS": {"charset": "utf8mb4"},
    }


@cache
def _create_on_postgresql(server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE wirings")


@cache
def _create_on_mariadb(server: MariaDbServer) -> None:
    with pymysql.connect(host="127.0.0.1", port=server.port, user="root") as connection:
        connection.cursor().execute("CREATE DATABASE wirings CHARACTER SET utf8mb4")
