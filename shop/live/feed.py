"""One kind of news, read once for everybody and given to each open stream that waits for it."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db import connections

log = logging.getLogger("shop.live")

State = Mapping[str, Any]
"""What is told of one thing, ready for JSON: always the whole of it."""

READS_AGAIN = 1.0
"""Seconds after which a reading that failed is tried again."""


class Subscription:
    """What one stream waits for, given what it was told. Only the newest state of each thing is kept for it."""

    def __init__(self, told: Mapping[int, State]) -> None:
        self.keys = frozenset(told)
        self.ended = False
        self._told = dict(told)
        self._news: dict[int, State] = {}
        self._woken = asyncio.Event()

    def offer(self, key: int, state: State) -> None:
        """Take a state, unless it says what was told before; the time of reading alone is no news."""
        if _without_time(state) != _without_time(self._told.get(key, {})):
            self._told[key] = self._news[key] = state
            self._woken.set()

    def end(self) -> None:
        """Let the stream end."""
        self.ended = True
        self._woken.set()

    async def news(self, within: float) -> list[State]:
        """Wait for news; an empty list after so many seconds without any, or at the end."""
        try:
            async with asyncio.timeout(within):
                await self._woken.wait()
        except TimeoutError:
            return []
        self._woken.clear()
        news, self._news = list(self._news.values()), {}
        return news


class Feed:
    """Reads what has changed, as seldom as `pause` seconds apart, and only what some stream waits for."""

    def __init__(self, read: Callable[[frozenset[int]], dict[int, State]], *, pause: float) -> None:
        self._read = read
        self._pause = pause
        self._subscriptions: set[Subscription] = set()
        self._changed: set[int] = set()
        self._woken = asyncio.Event()

    def subscribe(self, told: Mapping[int, State]) -> Subscription:
        """Begin to wait for news of these. All of them are read once, for what changed just before."""
        subscription = Subscription(told)
        self._subscriptions.add(subscription)
        self.changed(subscription.keys)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Wait no longer."""
        self._subscriptions.discard(subscription)

    def changed(self, keys: Iterable[int] | None) -> None:
        """Have these read; None: all of them."""
        watched = {key for subscription in self._subscriptions for key in subscription.keys}
        wanted = watched if keys is None else watched.intersection(keys)
        if wanted:
            self._changed |= wanted
            self._woken.set()

    def end(self) -> None:
        """End every stream."""
        for subscription in self._subscriptions:
            subscription.end()

    async def run(self) -> None:
        """Read and tell until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            asked, self._changed = frozenset(self._changed), set()
            try:
                states = await asyncio.to_thread(_read_apart, self._read, asked)
            except Exception as error:  # noqa: BLE001  # whatever it is, the streams must not fall silent for ever
                log.warning("what changed cannot be read, trying again in %.1f s: %s", READS_AGAIN, error)
                await asyncio.sleep(READS_AGAIN)
                self.changed(asked)
                continue
            for subscription in self._subscriptions:
                for key in subscription.keys & states.keys():
                    subscription.offer(key, states[key])
            await asyncio.sleep(self._pause)


def _read_apart(read: Callable[[frozenset[int]], dict[int, State]], keys: frozenset[int]) -> dict[int, State]:
    """Read in a thread that keeps no connection afterwards."""
    try:
        return read(keys)
    finally:
        connections.close_all()


def _without_time(state: State) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "now"}
