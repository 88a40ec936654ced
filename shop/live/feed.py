"""States of one kind, read once for all streams and sent to each open stream that waits for them."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db import connections

log = logging.getLogger("shop.live")

State = Mapping[str, Any]
"""The complete state of one order, or of the stock, ready for JSON."""

READ_AGAIN_AFTER = 1.0
"""Seconds after which a failed read is tried again."""


class Subscription:
    """The states that one stream waits for. Only the newest state of each key is kept until the stream takes it.

    `sent` has the states that the stream has already sent, by their keys.
    """

    def __init__(self, sent: Mapping[int, State]) -> None:
        self.keys = frozenset(sent)
        self.ended = False
        self._sent = dict(sent)
        self._news: dict[int, State] = {}
        self._woken = asyncio.Event()

    def offer(self, key: int, state: State) -> None:
        """Keep a state for the stream, unless only its time differs from the state that was sent last."""
        if _without_time(state) != _without_time(self._sent.get(key, {})):
            self._sent[key] = self._news[key] = state
            self._woken.set()

    def end(self) -> None:
        """Let the stream end."""
        self.ended = True
        self._woken.set()

    async def news(self, within: float) -> list[State]:
        """Wait up to `within` seconds for new states and return them: an empty list if none came, or at the end."""
        try:
            async with asyncio.timeout(within):
                await self._woken.wait()
        except TimeoutError:
            return []
        self._woken.clear()
        news, self._news = list(self._news.values()), {}
        return news


class Feed:
    """Reads the states that have changed and that a stream waits for. Reads are at least `pause` seconds apart."""

    def __init__(self, read: Callable[[frozenset[int]], dict[int, State]], *, pause: float) -> None:
        self._read = read
        self._pause = pause
        self._subscriptions: set[Subscription] = set()
        self._changed: set[int] = set()
        self._woken = asyncio.Event()

    def subscribe(self, sent: Mapping[int, State]) -> Subscription:
        """Return a subscription to these keys. They are read once first, because they may just have changed."""
        subscription = Subscription(sent)
        self._subscriptions.add(subscription)
        self.changed(subscription.keys)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove the subscription."""
        self._subscriptions.discard(subscription)

    def changed(self, keys: Iterable[int] | None) -> None:
        """Have these keys read again, or all of them for None."""
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
        """Read the changed states and offer them to their streams, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            keys, self._changed = frozenset(self._changed), set()
            try:
                states = await asyncio.to_thread(_read_and_disconnect, self._read, keys)
            except Exception as error:  # noqa: BLE001  # after any error at all, the streams must go on
                log.warning("changed states cannot be read, next attempt in %.1f s: %s", READ_AGAIN_AFTER, error)
                await asyncio.sleep(READ_AGAIN_AFTER)
                self.changed(keys)
                continue
            for subscription in self._subscriptions:
                for key in subscription.keys & states.keys():
                    subscription.offer(key, states[key])
            await asyncio.sleep(self._pause)


def _read_and_disconnect(read: Callable[[frozenset[int]], dict[int, State]], keys: frozenset[int]) -> dict[int, State]:
    """Return the states, read in this thread, which keeps no connection afterwards."""
    try:
        return read(keys)
    finally:
        connections.close_all()


def _without_time(state: State) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "now"}
