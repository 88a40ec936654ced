"""Connections to one address. Each serves one call at a time, and everything in a call ends at the call's limit."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpcore
import httpx

from lapse.network.proxy import proxy_for
from lapse.network.time_limit import LimitedNetwork, Names, TimeLimit

FAILURES = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
)
"""The exceptions of a network, or of a server, that fails."""

KEEP_IDLE = 1.5
"""Seconds for which an idle connection may be used again. Servers usually close idle connections later, so that they do
not close one while a message is on its way."""


class Connections:
    """Connections to the host of an address, opened when needed and used again. Thread-safe.

    No two calls share a connection at one time: a shared pool may close a connection as idle too long although another
    thread has just begun to use it. There are as many as there were calls at once. A forked process opens its own.

    Raises httpx.InvalidURL for an address that cannot be read, and ConfigError for a proxy that cannot be used.
    """

    def __init__(self, url: str) -> None:
        target = httpx.URL(url)
        self.target = httpcore.URL(
            scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
        )
        self._proxy = proxy_for(url)
        # Without an `https` address, the certificates of the authorities need not be read, which takes long.
        self._certificates = httpx.create_ssl_context() if target.scheme == "https" else None
        self._by_process: dict[int, _Free] = {}

    @contextmanager
    def lend(self, seconds: float) -> Iterator[httpcore.ConnectionPool]:
        """Lend a connection to one call, all of which must end within so many seconds."""
        free = self._free()
        try:
            connection, limit = free.connections.pop()
        except IndexError:
            limit = TimeLimit()
            connection = httpcore.ConnectionPool(
                ssl_context=self._certificates,
                proxy=self._proxy,
                max_connections=1,
                keepalive_expiry=KEEP_IDLE,
                network_backend=LimitedNetwork(limit, free.names),
            )
        limit.begin(seconds)
        try:
            yield connection
        finally:
            free.connections.append((connection, limit))

    def close(self) -> None:
        """Close the connections that no call uses."""
        free = self._free()
        while free.connections:
            free.connections.pop()[0].close()

    def _free(self) -> "_Free":
        """Return the free connections of this process. What a forked process inherits stays its parent's."""
        return self._by_process.setdefault(os.getpid(), _Free())


class _Free:
    """The connections of one process that no call uses, the last used last, and the names that it looks up."""

    def __init__(self) -> None:
        self.connections: list[tuple[httpcore.ConnectionPool, TimeLimit]] = []
        self.names = Names()
