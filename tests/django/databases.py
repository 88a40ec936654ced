"""Runs orders on PostgreSQL, MariaDB and SQLite: the tables of `wirings` are in the database that a test chooses."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
def chosen(kind: str, request: pytest.FixtureRequest, folder: Path, **settings: Any) -> Iterator[str]:
    """Make an empty database of this kind with the tables of `wirings`, and send their models to it; yield its alias.

    `settings` are further settings of the database, such as OPTIONS and TIME_ZONE. Of modules beside `models`, only
    those have tables from which the test's module imports a model. The table of windows is there too.
    """
    with made(kind, request, folder) as address:
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
            with transaction.atomic(ALIAS), connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
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


@contextmanager
def made(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[dict[str, Any]]:
    """Make an empty database; yield what DATABASES says of it; drop the database afterwards."""
    if kind == "sqlite":
        options = {"transaction_mode": "IMMEDIATE", "timeout": 30}
        yield {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "wirings.sqlite3"), "OPTIONS": options}
    elif kind == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        engine = {"ENGINE": "django.db.backends.postgresql", "USER": "postgres", "HOST": str(postgres.sockets)}
        with psycopg.connect(postgres.url, autocommit=True) as server:
            server.execute("DROP DATABASE IF EXISTS wirings WITH (FORCE)")
            server.execute("CREATE DATABASE wirings")
        yield {**engine, "NAME": "wirings"}
    else:
        mariadb: MariaDbServer = request.getfixturevalue("mariadb")
        pymysql.install_as_MySQLdb()
        with pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root") as server:
            server.cursor().execute("DROP DATABASE IF EXISTS wirings")
            server.cursor().execute("CREATE DATABASE wirings CHARACTER SET utf8mb4")
            engine = {
                "ENGINE": "django.db.backends.mysql",
                "USER": "root",
                "HOST": "127.0.0.1",
                "PORT": str(mariadb.port),
            }
            yield {**engine, "NAME": "wirings", "OPTIONS": {"charset": "utf8mb4"}}
            server.cursor().execute("DROP DATABASE wirings")
