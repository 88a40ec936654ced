"""Hears what Redis publishes, in a thread, and lives through the server's absence."""

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
from lapse.timers.redis.server import ANSWER_WITHIN, translated

RECONNECT = Backoff(first=timedelta(milliseconds=50), most=timedelta(seconds=2))
LISTEN = 0.5
"""Seconds between two looks at whether to end."""


class Listening(Protocol):
    """Something that listens in threads of its own."""

    def ensure(self) -> None:
        """Listen, if not yet."""
        ...

    def reconnect(self) -> None:
        """Leave the server that is listened to, and connect by its name once more."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class RedisListener:
    """Subscribes to one channel on one server, or to all whose names match a `pattern` of Redis's.

    `on_message` is called with the channel and the text of each message, `on_connect` whenever the subscription
    stands, for the first time or again: what was published in between is lost, and the server may be another one.
    Both must be quick.
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
        self._leave = threading.Event()
        self._thread = BackgroundThread(self._run, name="lapse-listener")

    def ensure(self) -> None:
        """Start to listen, unless this process listens already."""
        self._thread.ensure()

    def reconnect(self) -> None:
        """Leave the server that is listened to, and connect by its name once more."""
        self._leave.set()

    def close(self) -> None:
        """Stop listening."""
        self._thread.close(LISTEN * 4)

    def _run(self) -> None:
        failures = 0
        while not self._thread.closing:
            with suppress(TimerError), translated():  # the worker's own claims report an absent server
                failures += 1
                self._leave.clear()
                with self._connect().pubsub() as pubsub:  # type: ignore[no-untyped-call] # the library has no types here
                    if self._pattern:
                        pubsub.psubscribe(self._channel)
                    else:
                        pubsub.subscribe(self._channel)
                    while not (self._thread.closing or self._leave.is_set()):
                        if self._hear(pubsub).endswith("subscribe"):
                            failures = 0
            if failures:
                self._thread.pause(RECONNECT.delay(failures).total_seconds())

    def _hear(self, pubsub: redis.client.PubSub) -> str:
        """Take note of one message. Returns its type, "" for none."""
        message = None
        with suppress(exceptions.TimeoutError):
            message = pubsub.get_message(timeout=LISTEN)
        if message is None:
            # A connection that is half open stays silent for a quarter of an hour. The client sends a PING once it has
            # been silent for `health_check_interval`, and from then on one with each look.
            if pubsub.health_check_response_counter * LISTEN > ANSWER_WITHIN:
                raise exceptions.ConnectionError("the server does not answer a PING on the listener's connection")
            return ""
        if message["type"] in ("subscribe", "psubscribe"):
            self._on_connect()  # also when the client connected again by itself, which nothing else would tell
        elif message["type"] in ("message", "pmessage"):
            self._on_message(message["channel"], message["data"])
        return str(message["type"])
