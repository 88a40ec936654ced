"""Facts about a Redis client: its servers, its database and its connections."""

import re
from collections.abc import Mapping
from typing import Any

import redis
from redis.cluster import RedisCluster

from lapse.timers.redis.errors import translated

ANSWER_WITHIN = 5.0
"""Seconds after which a server that does not answer counts as unavailable, unless the URL sets `socket_timeout`."""

OLDEST = (6, 2)
"""The oldest Redis with the commands that the scripts use (ZMSCORE, SET … PXAT). Every Valkey has these commands."""

SUPPORTED = f"Redis {OLDEST[0]}.{OLDEST[1]} or later, or Valkey 7.2 or later"
"""The servers that Lapse works with, for messages. Valkey began with 7.2."""

Client = redis.Redis | RedisCluster


def primaries(client: Client) -> list[redis.Redis]:
    """Return a client for each server that holds data: a cluster has several such servers."""
    with translated():
        if isinstance(client, RedisCluster):
            nodes = client.get_primaries()  # type: ignore[no-untyped-call] # the library has no types here
            return [client.get_redis_connection(node) for node in nodes]
        return [client]


def database_number(client: Client) -> int:
    """Return the number of the database that holds the client's keys."""
    if isinstance(client, RedisCluster):
        return 0  # a cluster has no other database
    return int(client.connection_pool.connection_kwargs.get("db") or 0)


def close_idle(client: Client) -> bool:
    """Close the connections that are not in use, so that the next call resolves the server's host name again.

    Return False for a cluster, where nothing is closed: its nodes themselves report their addresses.
    """
    if isinstance(client, RedisCluster):
        return False
    client.connection_pool.disconnect(inuse_connections=False)
    return True


def server_info(client: Client) -> list[dict[str, Any]]:
    """Return the section "server" of INFO from each server that holds data."""
    with translated():
        if isinstance(client, RedisCluster):
            # Through the cluster's client: it reads the list of nodes again when a node is gone. A node's own does not.
            nodes = client.get_primaries()  # type: ignore[no-untyped-call] # the library has no types here
            return [client.info("server", target_nodes=node) for node in nodes]
        return [client.info("server")]


def product(info: Mapping[str, Any]) -> str:
    """Return the product with its version, such as "Valkey 9.1.2". `info` is the section "server" of INFO.

    What Valkey calls `redis_version` is the Redis that clients may take it for.
    """
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"


def master_of(client: Client) -> str:
    """Return the address of the master whose replica this server is; "" for a master, and for a cluster's client."""
    if isinstance(client, RedisCluster):
        return ""  # it asks the primaries only
    with translated():
        return master_in(client.info("replication"))


def master_in(info: Mapping[str, Any]) -> str:
    """Return the address of the master that this INFO names; "" for the INFO of a master."""
    return f"{info.get('master_host')}:{info.get('master_port')}" if info.get("role") == "slave" else ""


def is_sentinel(info: Mapping[str, Any]) -> bool:
    """Return whether this INFO is a Sentinel's. Valkey has another word for the mode than Redis."""
    return "sentinel" in (info.get("redis_mode"), info.get("server_mode"))


def is_too_old(info: Mapping[str, Any]) -> bool:
    """Return whether a server with this INFO is older than `OLDEST`. A server that names no version is not."""
    version = re.match(r"(\d+)\.(\d+)", str(info.get("redis_version", "")))
    return version is not None and (int(version[1]), int(version[2])) < OLDEST
