"""What the tests of `lapse watch` share; each module has a `server` of its own kind."""

from collections.abc import Iterator

import pytest
import redis

from lapse.testing.servers import RedisServer


@pytest.fixture
def shop(server: RedisServer) -> Iterator[redis.Redis]:
    """Connect as the shop does, to a server with nothing in it."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client
