"""What all tests share: one PostgreSQL for the whole run."""

import os
from collections.abc import Iterator

import pytest
from django.db import connections

from lapse.testing.servers import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start a private PostgreSQL; it is gone when the run is."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres: PostgresServer) -> None:
    """Let Django find the server, in this process and in those that tests start."""
    os.environ["LAPSE_TEST_DATABASE_HOST"] = str(postgres.sockets)
    connections["default"].settings_dict["HOST"] = str(postgres.sockets)
