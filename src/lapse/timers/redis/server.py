"""One Redis, found by URL: alone, behind Sentinel or as a cluster. Connections, scripts, errors."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from lapse.engine.errors import ConfigError, TimerRefused, TimerUnavailable

OLDEST = (6, 2)
"""The oldest Redis with the commands that the scripts use (ZMSCORE, SET … PXAT). Every Valkey has them."""

ANSWER_WITHIN = 5.0
"""Seconds after which a server that does not answer counts as away, unless the URL sets `socket_timeout`."""

Client = redis.Redis | RedisCluster

_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterError,  # also that a slot that is on the move was not to be had in sixteen tries
    exceptions.TryAgainError,
    exceptions.RedisClusterException,
)
_FINAL = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
# At the start, or, up to Redis 6.2, after the place in the script where it happened: "…: @user_script: 9: -READONLY …".
_PASSING_REPLY = re.compile(
    r"(^-?|: -)(LOADING|READONLY|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MISCONF|OOM|BUSY|UNKILLABLE)\b"
)


UNREADABLE = (
    "this URL cannot be read: write what is special in a password as %5B for [, %5D for ], %2F for /, %40 for @"
)
"""Nothing of the URL is repeated: what is wrong with it may be a password."""


def split(url: str) -> SplitResult:
    """Take a URL apart. Raises ConfigError where that cannot be."""
    try:
        return urlsplit(url)
    except ValueError:
        raise ConfigError(UNREADABLE) from None


def _check_port(parts: SplitResult) -> None:
    try:
        _ = parts.port
    except ValueError:
        raise ConfigError(UNREADABLE) from None


class Demoted(TimerUnavailable):
    """The server is a replica now. Where its name leads to may have changed, which no open connection notices."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says: `kind` is "", "sentinel" or "cluster"; `options` are this package's own settings in it."""

    kind: str
    url: str
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str, *, own: Sequence[str]) -> "Address":
        """Take `redis[s][+…][+sentinel|+cluster]://…` apart; the options named in `own` are taken out of the query.

        Raises ConfigError where that cannot be.
        """
        parts = split(url)
        transport, *rest = parts.scheme.split("+")
        kind = rest[-1] if rest and rest[-1] in ("sentinel", "cluster") else ""
        query = parse_qsl(parts.query, keep_blank_values=True)
        options = {key: value for key, value in query if key in own}
        kept = urlencode([(key, value) for key, value in query if key not in own])
        if not parts.netloc:
            raise ConfigError(f"{transport}:// needs an address, such as {parts.scheme}://localhost:6379/0")
        if parts.fragment:
            raise ConfigError("a Redis URL has no '#': write %23 if it is part of a password")
        if unreadable := {"decode_responses", "encoding"} & {key for key, _ in query}:
            raise ConfigError(f"{min(unreadable)}= cannot be in a timer's URL: Lapse itself reads what Redis answers")
        if kind != "sentinel":
            _check_port(parts)
        return cls(kind, urlunsplit((transport, parts.netloc, parts.path, kept, "")), options)

    def option(self, name: str, default: int, *, least: int, most: int) -> int:
        """Read a whole number, or raise ConfigError."""
        text = self.options.get(name, str(default))
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ConfigError(f"{name}= in a Redis URL is a whole number from {least} to {most}; got {text!r}")
        return int(text)

    def connect(self) -> Client:
        """Make a client. Nothing is sent yet, except by a cluster's, which asks for the slots."""
        settings: dict[str, Any] = {
            "socket_timeout": ANSWER_WITHIN,
            "socket_connect_timeout": ANSWER_WITHIN,
            "health_check_interval": 30,
            # Once more at once, for a connection that died of idleness. The worker's own back-off does the rest.
            "retry": Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
        }
        try:
            if self.kind == "cluster":
                with translated():  # it asks for the slots at once, and again after each error
                    return RedisCluster.from_url(self.url, **settings)
            if self.kind == "sentinel":
                return self._through_sentinel(settings)
            return redis.Redis.from_url(self.url, **settings)
        except ValueError as error:
            raise ConfigError(f"not a Redis URL: {error}") from error

    def _through_sentinel(self, settings: dict[str, Any]) -> redis.Redis:
        """redis+sentinel://user:password@host:26379,host2:26379/service/db; the password is the Redis server's."""
        parts = urlsplit(self.url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        service, _, db = parts.path.strip("/").partition("/")
        if not service:
            raise ConfigError("redis+sentinel:// needs the service's name: redis+sentinel://host:26379/mymaster/0")
        sentinels = []
        for host in hosts.split(","):
            name, _, port = host.rpartition(":") if ":" in host else (host, "", "26379")
            if not port.isdecimal():
                raise ConfigError(UNREADABLE)
            sentinels.append((name.strip("[]"), int(port)))
        sentinel = Sentinel(  # type: ignore[no-untyped-call] # the library has no types here
            sentinels, sentinel_kwargs={"socket_timeout": 1.0, "socket_connect_timeout": 1.0}, **settings
        )
        account = {"username": unquote(user) or None, "password": unquote(password) or None}
        master = sentinel.master_for(service, db=int(db or 0), **account)  # type: ignore[no-untyped-call] # as above
        return cast(redis.Redis, master)


@dataclass(frozen=True, slots=True)
class Script:
    """One command: its Lua, the digest by which a server remembers it, and the keys that its header names."""

    source: str
    digest: str
    keys: tuple[str, ...]

    def run(self, client: Client, prefix: str, args: Iterable[bytes | str | int]) -> Any:  # noqa: ANN401 - each script answers in its own shape, which its header states
        """Run it, telling the server the source if it does not know it. `prefix` goes before each key's name."""
        keys = [prefix + key for key in self.keys]
        with translated():
            try:
                return client.evalsha(self.digest, len(keys), *keys, *args)
            except exceptions.NoScriptError:
                return client.eval(self.source, len(keys), *keys, *args)


@cache
def script(name: str) -> Script:
    """Load `lua/<name>.lua`, with the prelude before it."""
    folder = files("lapse.timers.redis") / "lua"
    prelude, own = ((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", name))
    source = f"{prelude}\n{own}"
    header = re.search(r"^-- KEYS +(.+)$", own, re.MULTILINE)
    if header is None:
        raise AssertionError(f"lua/{name}.lua must have a line '-- KEYS …'")
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest(), tuple(header[1].split()))


def primaries(client: Client) -> list[redis.Redis]:
    """Give a client for each server that holds data: one, unless it is a cluster."""
    with translated():
        if isinstance(client, RedisCluster):
            nodes = client.get_primaries()  # type: ignore[no-untyped-call] # the library has no types here
            return [client.get_redis_connection(node) for node in nodes]
        return [client]


def leave(client: Client) -> bool:
    """End the connections that nobody uses just now, so that the next call looks the server's name up again.

    False for a cluster, whose nodes say themselves where to go.
    """
    if isinstance(client, RedisCluster):
        return False
    client.connection_pool.disconnect(inuse_connections=False)
    return True


def database(client: Client) -> int:
    """Give the number of the database that the client's keys are in."""
    if isinstance(client, RedisCluster):
        return 0  # a cluster has no other
    return int(client.connection_pool.connection_kwargs.get("db") or 0)


def identity(client: Client) -> str:
    """Name the servers' processes: another name after a restart or a failover.

    Raises TimerRefused if one of them is too old.
    """
    names = []
    for info in _about_servers(client):
        version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
        if version < OLDEST:
            raise TimerRefused(
                f"Redis {info['redis_version']} is too old: Lapse needs {OLDEST[0]}.{OLDEST[1]} or later, or Valkey"
            )
        names.append(str(info["run_id"]))
    return "+".join(sorted(names))


def _about_servers(client: Client) -> list[dict[str, Any]]:
    with translated():
        if isinstance(client, RedisCluster):
            # Asked through the cluster's client, not the node's own: a node that is gone makes it learn the nodes anew.
            nodes = client.get_primaries()  # type: ignore[no-untyped-call] # the library has no types here
            return [client.info("server", target_nodes=node) for node in nodes]
        return [client.info("server")]


@contextmanager
def translated() -> Iterator[None]:
    """Turn the client's exceptions into the package's own."""
    try:
        yield
    except _FINAL as error:
        raise TimerRefused(f"Redis refused: {error}. Check the user, the password and the ACL in the URL") from error
    except exceptions.ReadOnlyError as error:
        raise Demoted(f"Redis cannot do it now: {error}") from error
    except _PASSING as error:
        raise TimerUnavailable(f"Redis gave no answer: {error}") from error
    except exceptions.ResponseError as error:
        if found := _PASSING_REPLY.search(str(error)):
            passing = Demoted if found[2] == "READONLY" else TimerUnavailable
            raise passing(f"Redis cannot do it now: {error}") from error
        raise TimerRefused(f"Redis refused: {error}") from error
