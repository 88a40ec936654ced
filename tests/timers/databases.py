"""The SQL databases that the timers are tested on, by scheme."""

from collections.abc import Callable

import pytest

from lapse import TimerUnavailable
from lapse.testing.servers import mariadb_binaries

NEEDS_MARIADB = pytest.mark.skipif(
    not mariadb_binaries(), reason="needs MariaDB: on Debian or Ubuntu apt-get install mariadb-server"
)
"""tests/testing/test_services.py lists what is missing; in CI that is a failure."""

MYSQL = pytest.param("mysql", marks=NEEDS_MARIADB)
KINDS = ["postgresql", *(["mysql"] if mariadb_binaries() else []), "sqlite"]
"""The databases that this machine has."""

DATABASES = ["postgresql", MYSQL, "sqlite"]


def answers(call: Callable[[], object]) -> bool:
    """Return whether the server gives an answer."""
    try:
        call()
    except TimerUnavailable:
        return False
    return True
