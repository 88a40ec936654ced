"""Hears what Redis publishes, in a thread, and lives through the server's absence."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import redis
from redis import exceptions

from lapse.engine.backoff import Backoff
from lapse.engine.errors import TimerError
from lapse.timers.redis_server import translated

RECONNECT = Backoff(first=timedelta(milliseconds=50), most=timedelta(seconds=2))
LISTEN = 0.5
"""Seconds between two looks at whether to end."""


class RedisListener:
    """Subscribes to one channel on one server.

    `on_message` is called with the text of each message, `on_connect` whenever the subscription stands, for the first
    time or again: what was published in between is lost, and the server may be another one. Both must be quick.
    """

    def __init__(
        self,
        connect: Callable[[], redis.Redis],
        channel: str,
        on_message: Callable[[bytes], None],
        on_connect: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._channel = channel
        self._on_message = on_message
        self._on_connect = on_connect
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def ensure(self) -> None:
        """Listen, if not yet: a fork has no threads of its parent's."""
        if (self._thread is None or not self._thread.is_alive()) and not self._closed.is_set():
            self._thread = threading.Thread(target=self._run, name="lapse-listener", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(LISTEN * 4)

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            with suppress(TimerError), translated():  # the worker's own claims report an absent server
                failures += 1
                connection = self._connect()
                subscription = connection.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call] # untyped
                with subscription as pubsub:
                    pubsub.subscribe(self._channel)
                    pubsub.get_message(timeout=LISTEN)
                    failures = 0
                    self._on_connect()
                    self._listen(pubsub)
            if failures:
                self._closed.wait(RECONNECT.delay(failures).total_seconds())

    def _listen(self, pubsub: redis.client.PubSub) -> None:
        while not self._closed.is_set():
            with suppress(exceptions.TimeoutError):
                message = pubsub.get_message(timeout=LISTEN)
                if message is not None and message["type"] == "message":
                    self._on_message(message["data"])
