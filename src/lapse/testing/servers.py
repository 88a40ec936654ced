"""Real servers, started privately: for a shop's tests and for demos."""

from lapse.testing.postgres_server import PostgresServer
from lapse.testing.redis_server import RedisServer, ServerFailed, redis_binaries

__all__ = ["PostgresServer", "RedisServer", "ServerFailed", "redis_binaries"]
