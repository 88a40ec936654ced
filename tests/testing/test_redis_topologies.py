"""A cluster agrees on its slots, and the sentinels promote the replica of a killed master."""

from pathlib import Path

import pytest

from lapse.testing.redis_wire import RedisAnswered
from lapse.testing.servers import RedisCluster, RedisSentinel
from tests.each_redis import each_redis


@pytest.mark.parametrize("binary", each_redis())
def test_cluster_of_three(binary: Path) -> None:
    """Each node serves its own slots and redirects for the others."""
    with RedisCluster(binary=binary) as cluster:
        slot = cluster.nodes[0].ask("CLUSTER", "KEYSLOT", "order")
        assert isinstance(slot, int)
        owner = cluster.node_of(slot)
        assert owner.ask("SET", "order", "1") == "OK"
        for other in cluster.nodes:
            if other is not owner:
                with pytest.raises(RedisAnswered, match=f"MOVED {slot} 127.0.0.1:{owner.port}"):
                    other.ask("GET", "order")


@pytest.mark.parametrize("binary", each_redis())
@pytest.mark.parametrize("count", [1, 3])
def test_sentinel_replaces_a_killed_master(binary: Path, count: int) -> None:
    """When the master is killed, its replica becomes the master, with the data."""
    with RedisSentinel(binary=binary, sentinels=count) as watched:
        first = watched.master
        assert first.ask("SET", "order", "1") == "OK"
        assert first.ask("WAIT", 1, 5000) == 1
        second = watched.kill_master()
        assert second is not first
        assert second.ask("GET", "order") == "1"
        assert len(watched.url.split(",")) == count
