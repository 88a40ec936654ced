"""The tests that the owner of this shop would write. DATABASE_URL names a PostgreSQL; without it they run on SQLite."""

import os
from urllib.parse import urlsplit

import pytest
from django.db import connection


@pytest.fixture
def database_url(transactional_db):  # noqa: ARG001 - a fixture uses a fixture by its name
    """Return the address of the database of the tests, for other processes."""
    if connection.vendor != "postgresql":
        pytest.skip("other processes need a real server: set DATABASE_URL to a PostgreSQL")
    return urlsplit(os.environ["DATABASE_URL"])._replace(path="/" + connection.settings_dict["NAME"]).geturl()


@pytest.fixture(autouse=True)
def lapse_timer(settings):
    """Let no test arm the timer of the shop itself."""
    settings.LAPSE_TIMER = "memory://"
