"""Receives Redis messages in a thread, and reconnects after the server was unavailable."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

import redis
from redis import exceptions

from lapse.engine.background import BackgroundThread
from lapse.engine.backoff import Backoff
from lapse.engine.errors import TimerError
from lapse.timers.redis.client import ANSWER_WITHIN
from lapse.timers.redis.errors import translated

RECONNECT = Backoff(first=timedelta(milliseconds=50), most=timedelta(seconds=2))
LISTEN = 0.5
"""Seconds between two checks for a request to stop."""


class Listening(Protocol):
    """An object that listens in its own threads."""

    def ensure(self) -> None:
        """Start to listen, unless it already listens."""
        ...

    def reconnect(self) -> None:
        """Close the connection, and connect again by the server's host name."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class RedisListener:
    """Subscribes to one channel on one server, or with `pattern` to all channels whose names match.

    `on_message` is called with the channel and the text of each message. `on_connect` is called after each
    subscription, the first one and each later one. Messages between two subscriptions are lost, and the server may be
    another one. Both must return quickly.
    """

    def __init__(
        self,
        connect: Callable[[], redis.Redis],
        channel: str | bytes,
        on_message: Callable[[bytes, bytes], None],
        on_connect: Callable[[], None],
        *,
        pattern: bool = False,
    ) -> None:
        self._connect = connect
        self._channel = channel
        self._on_message = on_message
        self._on_connect = on_connect
        self._pattern = pattern
        self._reconnecting = threading.Event()
        self._thread = BackgroundThread(self._run, name="lapse-listener")

    def ensure(self) -> None:
        """Start to listen, unless this process listens already."""
        self._thread.ensure()

    def reconnect(self) -> None:
        """Close the connection, and connect again by the server's host name."""
        self._reconnecting.set()

    def close(self) -> None:
        """Stop listening."""
        self._thread.close(LISTEN * 4)

    def _run(self) -> None:
        failures = 0
        while not self._thread.closing:
            with suppress(TimerError), translated():  # the worker's own claims report an unavailable server
                failures += 1
                self._reconnecting.clear()
                with self._connect().pubsub() as pubsub:  # type: ignore[no-untyped-call] # the library has no types here
                    if self._pattern:
                        pubsub.psubscribe(self._channel)
                    else:
                        pubsub.subscribe(self._channel)
                    while not (self._thread.closing or self._reconnecting.is_set()):
                        if self._receive(pubsub).endswith("subscribe"):
                            failures = 0
            if failures:
                self._thread.pause(RECONNECT.delay(failures).total_seconds())

    def _receive(self, pubsub: redis.client.PubSub) -> str:
        """Receive one message. Return its type, or "" if none came in time."""
        message = None
        with suppress(exceptions.TimeoutError):
            message = pubsub.get_message(timeout=LISTEN)
        if message is None:
            # A half-open connection stays silent for a quarter of an hour. After `health_check_interval` seconds of
            # silence the client sends a PING, and from then on one with each call.
            if pubsub.health_check_response_counter * LISTEN > ANSWER_WITHIN:
                raise exceptions.ConnectionError("the server does not answer a PING on the listener's connection")
            return ""
        if message["type"] in ("subscribe", "psubscribe"):
            self._on_connect()  # also after the client itself has connected again, which only this message shows
        elif message["type"] in ("message", "pmessage"):
            self._on_message(message["channel"], message["data"])
        return str(message["type"])
