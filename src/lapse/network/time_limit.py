"""The network of one call: everything that the call waits for ends at one moment.

The usual timeouts are for one operation each, and a receiver that sends one byte a second keeps every one of these. So
each operation gets the rest of the call's time: name lookup, connecting, TLS, sending, and each part of the answer.
"""

import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from ssl import SSLContext
from typing import Any

from httpcore import ConnectError, ConnectTimeout, NetworkBackend, NetworkStream, ReadTimeout, SyncBackend, WriteTimeout

from lapse.engine.clock import SYSTEM_CLOCK

PIECE = 4096
"""Bytes that are sent in one operation. The system takes so few at once, so a slow receiver cannot stretch it."""

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class TimeLimit:
    """The end of the call that is under way, on the clock that never jumps."""

    def __init__(self) -> None:
        self._end = 0.0

    def begin(self, seconds: float) -> None:
        """Begin a call that may take so long."""
        self._end = SYSTEM_CLOCK.monotonic() + seconds

    def left(self, over: type[Exception]) -> float:
        """Return the seconds that are left. Raises an exception of the given class if the time is over."""
        seconds = self._end - SYSTEM_CLOCK.monotonic()
        if seconds <= 0:
            raise over("the time for the whole call is over")
        return seconds


class Names:
    """Looks names up. Threads that ask meanwhile share one look-up: the system's cannot be ended before it ends.

    So a name server that does not answer holds one thread in the background, and no call longer than its limit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, int], list[SimpleQueue[list[str] | OSError]]] = {}

    def addresses(self, host: str, port: int, limit: TimeLimit) -> list[str]:
        """Return the addresses of a host, in the system's order. Raises ConnectTimeout and ConnectError."""
        with suppress(ValueError):
            return [str(ip_address(host))]
        answer: SimpleQueue[list[str] | OSError] = SimpleQueue()
        with self._lock:
            waiting = self._waiting.setdefault((host, port), [])
            waiting.append(answer)
            if len(waiting) == 1:
                try:
                    threading.Thread(target=self._look_up, args=(host, port), name="lapse-names", daemon=True).start()
                except RuntimeError as error:  # this process may have no more threads
                    del self._waiting[host, port]  # or else the next call would wait for a thread that never ran
                    raise ConnectError(f"{host} cannot be looked up: {error}") from error
        try:
            found = answer.get(timeout=limit.left(ConnectTimeout))
        except Empty:
            raise ConnectTimeout(f"no name server has answered for {host}") from None
        if isinstance(found, OSError):
            raise ConnectError(f"{host} has no address: {found}") from found
        return found

    def _look_up(self, host: str, port: int) -> None:
        found: list[str] | OSError
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(address[0]) for *_, address in answers))
        except (OSError, UnicodeError) as error:
            found = error if isinstance(error, OSError) else OSError(str(error))
        with self._lock:
            waiting = self._waiting.pop((host, port))
        for answer in waiting:
            answer.put(found)


class LimitedNetwork(NetworkBackend):
    """Opens connections whose operations all end at the limit. The timeouts of its callers are not used."""

    def __init__(self, limit: TimeLimit, names: Names) -> None:
        self._limit = limit
        self._names = names
        self._network = SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> NetworkStream:
        """Return a connection to the first address that answers. Each address gets an equal part of the time left."""
        del timeout
        addresses = self._names.addresses(host, port, self._limit)
        failed: Exception = ConnectError(f"{host} has no address")
        for tried, address in enumerate(addresses):
            part = self._limit.left(ConnectTimeout) / (len(addresses) - tried)
            try:
                opened = self._network.connect_tcp(address, port, part, local_address, socket_options)
            except (ConnectError, ConnectTimeout) as error:
                failed = error
            else:
                return _LimitedStream(opened, self._limit)
        raise failed


class _LimitedStream(NetworkStream):
    def __init__(self, stream: NetworkStream, limit: TimeLimit) -> None:
        self._stream = stream
        self._limit = limit

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        return self._stream.read(max_bytes, self._limit.left(ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        del timeout
        for start in range(0, len(buffer), PIECE):
            self._stream.write(buffer[start : start + PIECE], self._limit.left(WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        del timeout
        left = self._limit.left(ConnectTimeout)
        return _LimitedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._limit)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the network library's signature
        return self._stream.get_extra_info(info)
