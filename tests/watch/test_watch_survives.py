"""Failures of the tracker: the keys go on being tracked, or the failure is reported."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import redis

from lapse import Kind, TimerRefused
from lapse.testing.faults import Proxy
from lapse.testing.servers import RedisServer
from lapse.watch.key_tracker import KeyTracker
from lapse.watch.order_ids import OrderIds
from tests.engine.running import wait_until
from tests.watch.test_watched_keys import pending, scans, watching

PREFIX = "nick_"


@pytest.fixture(scope="module")
def server(redis_binary: Path) -> Iterator[RedisServer]:
    """Start a Redis that announces what is needed."""
    with RedisServer(binary=redis_binary, config={"notify-keyspace-events": "Kg$x"}) as server:
        yield server


class Following:
    """Follows keys, and keeps what it learns; `learn` and `refit` may raise something first."""

    def __init__(self, client: redis.Redis) -> None:
        self.learnt: set[str] = set()
        self.scans: list[int] = []
        self.errors: list[Exception] = []
        self.unfit: list[str] = []
        self.before_learning: Callable[[], object] = lambda: None
        self.before_scanning: Callable[[], object] = lambda: None
        self.tracker = KeyTracker(
            client,
            OrderIds(PREFIX.encode(), "", self.unfit.append),
            "ledger",
            learn=self._learn,
            require_events=self._require_events,
            on_connect=lambda: None,
            on_progress=lambda progress: self.scans.append(progress.found),
            on_check=lambda: None,
            on_error=self.errors.append,
            on_refused=self.errors.append,
        )

    def _learn(self, hints: Mapping[str, str]) -> None:
        self.before_learning()
        self.learnt |= set(hints)

    def _require_events(self) -> None:
        self.before_scanning()


@pytest.fixture
def following(shop: redis.Redis) -> Iterator[Following]:
    """Follow the keys, of which there are none yet."""
    following = Following(shop)
    following.tracker.ensure()
    wait_until(lambda: following.scans == [0])
    yield following
    following.tracker.close()


class Failing:
    """Raises an error so many times, and then no more."""

    def __init__(self, error: BaseException, times: int) -> None:
        self.error = error
        self.left = times

    def __call__(self) -> None:
        """Raise it, if there is one left."""
        if self.left:
            self.left -= 1
            raise self.error


def test_an_error_that_nobody_foresaw_while_learning(shop: redis.Redis, following: Following) -> None:
    """Changes that were received are learnt after all, all keys are scanned again, and the error is reported once."""
    error = ValueError("an unforeseen error")
    following.before_learning = Failing(error, 3)
    shop.set(PREFIX + "1", "x", ex=1000)
    wait_until(lambda: following.learnt == {"1"} and following.scans[1:])
    shop.set(PREFIX + "2", "x", ex=1000)
    wait_until(lambda: "2" in following.learnt)
    assert error in following.errors
    assert len(following.errors) <= 2  # by the one that learns, and the one that looks at all


def test_an_unforeseen_error_while_scanning(following: Following) -> None:
    """The scan is repeated, and the error is reported once."""
    error = KeyError("evicted_keys")
    following.before_scanning = Failing(error, 3)
    following.tracker.scan_again()
    wait_until(lambda: following.scans == [0, 0])
    assert following.errors == [error]


def test_a_thread_that_died_is_replaced_alone(shop: redis.Redis, following: Following) -> None:
    """What ends one thread leaves the other; the next claim starts it again, and it looks at everything."""

    def both_live() -> bool:
        following.tracker.ensure()
        return learn.alive and look.alive

    learn, look = following.tracker._learning, following.tracker._scanning
    looking = look._thread
    assert looking is not None
    following.before_learning = Failing(TimerRefused("no"), 1)
    shop.set(PREFIX + "1", "x", ex=1000)
    wait_until(lambda: not learn.alive)
    assert both_live()
    assert look._thread is looking
    wait_until(lambda: following.learnt == {"1"})
    following.before_scanning = Failing(TimerRefused("no"), 1)
    following.tracker.scan_again()
    wait_until(lambda: not looking.is_alive())
    before = len(following.scans)
    assert both_live()
    wait_until(lambda: len(following.scans) > before)


def test_a_server_that_does_not_say_what_it_has_evicted(server: RedisServer, shop: redis.Redis) -> None:
    """Its silence counts as nothing: the look at all comes to its end."""
    shop.set(PREFIX + "1", "x", ex=1000)
    with Proxy(server.port) as proxy:
        proxy.alter(b"\nevicted_keys:", b"\nevicted_what:")
        with watching(f"redis://127.0.0.1:{proxy.port}/0", PREFIX) as (timer, _, recorder):
            assert set(scans(recorder)) == {1}
            assert pending(timer) == 1


def test_a_ledger_that_somebody_deleted(server: RedisServer, shop: redis.Redis) -> None:
    """It is made again from the keys, although no connection broke."""
    with watching(server.url, PREFIX) as (timer, _, recorder):
        for number in range(3):
            shop.set(f"{PREFIX}{number}", "x", ex=1000)
        wait_until(lambda: pending(timer) == 3)
        shop.delete(*shop.keys("lapse:*"))
        wait_until(lambda: pending(timer) == 3)
        wait_until(lambda: 3 in scans(recorder))  # the look at all is reported when it ends


@pytest.mark.parametrize(
    ("prefix", "there", "warned"), [("nick_*", 0, True), ("nick_*", 1, False), ("nick_", 0, False)]
)
def test_a_prefix_that_was_meant_as_a_pattern(
    server: RedisServer, shop: redis.Redis, prefix: str, there: int, *, warned: bool
) -> None:
    """Where no key begins with a prefix that ends in a star, it is said once that the star is taken as it stands."""
    for number in range(there):
        shop.set(f"{prefix}{number}", "x", ex=1000)
    with watching(server.url, prefix) as (timer, _, recorder):
        before = len(scans(recorder))
        timer._tracker.scan_again()
        wait_until(lambda: len(scans(recorder)) > before)
        told = [event for event in recorder.of(Kind.UNMATCHED) if "not a pattern" in event.reason]
    assert len(told) == int(warned)
