"""Real servers, started privately: for a shop's tests and for demos."""

from lapse.testing.postgres_server import PostgresServer
from lapse.testing.redis_server import RedisServer, ServerFailed, redis_binaries
from lapse.testing.redis_topologies import RedisCluster, RedisSentinel

__all__ = ["PostgresServer", "RedisCluster", "RedisSentinel", "RedisServer", "ServerFailed", "redis_binaries"]
