"""A scan of all keys: the deadlines that are about to fire come first."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import redis

from lapse.testing.servers import RedisServer
from lapse.watch.key_changes import CHANGED, UNWATCHED
from lapse.watch.key_scan import KeyScan

LEDGER = "ledger"
LATER = 4_000_000_000_000
"""A time in ms that is not over for a while."""


@pytest.fixture
def shop(redis_binary: Path) -> Iterator[redis.Redis]:
    """Start each Redis and Valkey in turn, and connect as the shop does."""
    with RedisServer(binary=redis_binary) as server, redis.Redis.from_url(server.url) as client:
        yield client


class Look:
    """One look at all: the keys in the order in which they were learnt, and whether anything was to be said."""

    def __init__(self, client: redis.Redis) -> None:
        self.learnt: list[tuple[str, str]] = []
        KeyScan(
            client,
            b"nick_",
            LEDGER,
            learn=self._learn,
            key_of=lambda name: name.removeprefix(b"nick_").decode(),
            report=lambda _: None,
            pause=lambda _: False,
        ).run()

    def _learn(self, hints: Mapping[str, str]) -> None:
        self.learnt += hints.items()

    def of(self, hint: str) -> list[str]:
        """The keys that came with this hint, each once, in the order in which they first came."""
        return list(dict.fromkeys(key for key, with_hint in self.learnt if with_hint == hint))


def test_what_is_due_soonest_is_looked_at_first(shop: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger comes before the keys, in the order of its times, and nothing that is due already."""
    monkeypatch.setattr("lapse.watch.key_scan.STEP", 10)
    shop.zadd(LEDGER, {str(number): LATER + 7919 * number % 1000 for number in range(1000)})
    shop.zadd(LEDGER, {f"due{number}": number for number in range(50)})
    shop.mset({f"nick_{number}": "x" for number in range(100)})
    look = Look(shop)
    assert look.of(UNWATCHED) == [str(number) for number in sorted(range(1000), key=lambda n: 7919 * n % 1000)]
    assert sorted(look.of(CHANGED), key=int) == [str(number) for number in range(100)]
    assert [hint for _, hint in look.learnt[-100:]] == [CHANGED] * 100


def test_many_of_one_moment_are_all_looked_at(shop: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than fit into several steps: each is learnt, and so are those after it."""
    monkeypatch.setattr("lapse.watch.key_scan.STEP", 10)
    shop.zadd(LEDGER, {f"same{number}": LATER for number in range(75)})
    shop.zadd(LEDGER, {"before": LATER - 1, "after": LATER + 1})
    found = Look(shop).of(UNWATCHED)
    assert (found[0], found[-1], len(found)) == ("before", "after", 77)
