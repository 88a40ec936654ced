"""Real servers for the timers' tests, each kind started once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from itertools import count
from pathlib import Path

import pytest

from lapse.testing.servers import MariaDbServer, PostgresServer, RabbitServer, RedisServer
from tests.timers.rabbitmq_vhost import VirtualHost

_names = count()


@pytest.fixture(scope="session")
def redis_of() -> Iterator[Callable[[Path], RedisServer]]:
    """Return the running server of a program. Each starts when the first test needs it."""
    with ExitStack() as running:
        yield cache(lambda binary: running.enter_context(RedisServer(binary=binary)))


@pytest.fixture(scope="session")
def redis_server(redis_of: Callable[[Path], RedisServer], redis_binary: Path) -> RedisServer:
    """Return each Redis and Valkey in turn, running."""
    return redis_of(redis_binary)


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


@pytest.fixture
def vhost(rabbit: RabbitServer, timer_name: str) -> Iterator[VirtualHost]:
    """Create a virtual host for the test. Its name needs an escape in a URL."""
    vhost = VirtualHost(rabbit, f"{timer_name}/vhost")
    yield vhost
    vhost.delete()
