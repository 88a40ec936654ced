"""Redis URLs: a single server, a master found by Sentinel, or a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from lapse.engine.errors import ConfigError
from lapse.timers.redis.client import ANSWER_WITHIN, Client
from lapse.timers.redis.errors import translated

UNREADABLE = (
    "this URL cannot be read: write what is special in a password as %5B for [, %5D for ], %2F for /, %40 for @"
)
"""The message repeats no part of the URL: the unreadable part may be a password."""


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a URL: `kind` is "", "sentinel" or "cluster"; `options` are this package's own settings in it."""

    kind: str
    url: str
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str, *, own: Sequence[str]) -> "Address":
        """Return the parts of `redis[s][+…][+sentinel|+cluster]://…`.

        The options named in `own` move from the query to `options`. Raises ConfigError for a URL that cannot be read.
        """
        parts = split_url(url)
        transport, *rest = parts.scheme.split("+")
        kind = rest[-1] if rest and rest[-1] in ("sentinel", "cluster") else ""
        query = parse_qsl(parts.query, keep_blank_values=True)
        options = {key: value for key, value in query if key in own}
        kept = urlencode([(key, value) for key, value in query if key not in own])
        if not parts.netloc:
            raise ConfigError(f"{transport}:// needs an address, such as {parts.scheme}://localhost:6379/0")
        if parts.fragment:
            raise ConfigError("a Redis URL has no '#': write %23 if it is part of a password")
        if unusable := {"decode_responses", "encoding"} & {key for key, _ in query}:
            raise ConfigError(f"{min(unusable)}= cannot be in a timer's URL: Lapse itself reads what Redis answers")
        if kind != "sentinel":
            _check_port(parts)
        return cls(kind, urlunsplit((transport, parts.netloc, parts.path, kept, "")), options)

    def option(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return an option that is a whole number. Raises ConfigError for any other value."""
        text = self.options.get(name, str(default))
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ConfigError(f"{name}= in a Redis URL is a whole number from {least} to {most}; got {text!r}")
        return int(text)

    def connect(self) -> Client:
        """Return a client. Only the client of a cluster connects at once, to read the slots."""
        settings: dict[str, Any] = {
            "socket_timeout": ANSWER_WITHIN,
            "socket_connect_timeout": ANSWER_WITHIN,
            "health_check_interval": 30,
            # One retry at once, for a connection that was closed while idle. The worker's own back-off does the rest.
            "retry": Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
        }
        try:
            if self.kind == "cluster":
                with translated():  # this client connects at once to read the slots, and again after each error
                    return RedisCluster.from_url(self.url, **settings)
            if self.kind == "sentinel":
                return self._through_sentinel(settings)
            return redis.Redis.from_url(self.url, **settings)
        except ValueError as error:
            raise ConfigError(f"not a Redis URL: {error}") from error

    def _through_sentinel(self, settings: dict[str, Any]) -> redis.Redis:
        """Return a client of the master of a service.

        The URL is redis+sentinel://user:password@host:26379,host2:26379/service/db. The password is the master's.
        """
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


def split_url(url: str) -> SplitResult:
    """Return the parts of any URL. Raises ConfigError for a URL that cannot be read."""
    try:
        return urlsplit(url)
    except ValueError:
        raise ConfigError(UNREADABLE) from None


def _check_port(parts: SplitResult) -> None:
    try:
        _ = parts.port
    except ValueError:
        raise ConfigError(UNREADABLE) from None
