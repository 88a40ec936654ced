"""Real servers, started privately: for a shop's tests and for demos."""

from lapse.testing.mariadb_server import MariaDbServer, mariadb_binaries
from lapse.testing.postgres_server import PostgresServer
from lapse.testing.private_server import PrivateServer, ServerFailed
from lapse.testing.rabbit_server import RabbitMissing, RabbitServer, rabbit_scripts
from lapse.testing.redis_server import RedisServer, redis_binaries
from lapse.testing.redis_topologies import RedisCluster, RedisSentinel

__all__ = [
    "MariaDbServer",
    "PostgresServer",
    "PrivateServer",
    "RabbitMissing",
    "RabbitServer",
    "RedisCluster",
    "RedisSentinel",
    "RedisServer",
    "ServerFailed",
    "mariadb_binaries",
    "rabbit_scripts",
    "redis_binaries",
]
