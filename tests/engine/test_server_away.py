"""A worker lives through its server's absence and says so once."""

import threading
from datetime import timedelta

import pytest

from lapse import Deadline, Kind, open_timer
from lapse.testing.faults import Proxy
from lapse.testing.servers import RedisServer
from tests.engine.running import Handled, Recorder, Start, ago, unfinished, wait_until

LOST_AND_FOUND = [Kind.TIMER_LOST, Kind.TIMER_BACK]


@pytest.fixture
def durable_redis() -> RedisServer:
    """Make a Redis that keeps its data over a restart."""
    return RedisServer(appendonly=True, config={"appendfsync": "always"})


def away(recorder: Recorder) -> list[Kind]:
    """What was said of the server, in order."""
    return [event.kind for event in recorder.events if event.kind in LOST_AND_FOUND]


def test_killed_and_started_again(durable_redis: RedisServer, start: Start, recorder: Recorder) -> None:
    """One word when it goes, one when it is back; what became due meanwhile is handled, what comes after, too."""
    with durable_redis as server, open_timer(server.url, name="orders") as timer:
        handled = Handled()
        start(timer, handled, lease=timedelta(seconds=1))
        timer.arm([Deadline("before", ago(5))])
        wait_until(lambda: handled.keys == ["before"])
        wait_until(lambda: timer.stats().claimed == 0)  # settled, or it would come again
        timer.arm([Deadline("meanwhile", ago(-0.3))])
        server.kill()
        wait_until(lambda: away(recorder) == [Kind.TIMER_LOST])
        threading.Event().wait(1.0)  # it tries again several times
        server.start()
        wait_until(lambda: handled.keys == ["before", "meanwhile"])
        timer.arm([Deadline("after", ago(5))])
        wait_until(lambda: handled.keys == ["before", "meanwhile", "after"])
        assert away(recorder) == LOST_AND_FOUND
        assert "no answer" in recorder.of(Kind.TIMER_LOST)[0].reason


def test_not_there_when_the_worker_starts(durable_redis: RedisServer, start: Start, recorder: Recorder) -> None:
    """It waits for it, and asks to be armed once it is there."""
    with durable_redis as server, open_timer(server.url, name="orders") as timer:
        server.kill()
        handled = Handled()
        armed: list[int] = []
        start(timer, handled, rearm=lambda: armed.append(1) or timer.arm([Deadline("1", ago(5))]) or 1)  # type: ignore[func-returns-value] # both are called, in order
        wait_until(lambda: away(recorder) == [Kind.TIMER_LOST])
        server.start()
        wait_until(lambda: handled.keys == ["1"])
        assert armed == [1]
        assert away(recorder) == LOST_AND_FOUND


def test_frozen(own_redis: RedisServer, start: Start, recorder: Recorder) -> None:
    """A server that hangs is away, and when it goes on, so does the worker; no lease of an unheard claim jams it."""
    with open_timer(f"{own_redis.url}?socket_timeout=0.3", name="orders") as timer:
        handled = Handled()
        start(timer, handled, lease=timedelta(seconds=1))
        wait_until(lambda: recorder.of(Kind.STARTED) and timer.stats())
        timer.arm([Deadline(str(number), ago(-0.5)) for number in range(20)])
        own_redis.freeze()
        wait_until(lambda: away(recorder) == [Kind.TIMER_LOST])
        own_redis.thaw()
        wait_until(lambda: sorted(set(handled.keys), key=int) == [str(number) for number in range(20)])
        wait_until(lambda: not unfinished(timer))
        assert away(recorder) == LOST_AND_FOUND


def test_a_worker_stops_while_its_server_is_away(own_redis: RedisServer, start: Start, recorder: Recorder) -> None:
    """It does not wait for the server to come back."""
    with open_timer(own_redis.url, name="orders") as timer:
        running = start(timer, Handled(), drain=timedelta(hours=1))
        own_redis.kill()
        wait_until(lambda: away(recorder) == [Kind.TIMER_LOST])
        running.stop()


def test_a_silent_network(own_redis: RedisServer, start: Start, recorder: Recorder) -> None:
    """Connections that are half open end nothing and say nothing: the worker gives up on them, and recovers."""
    with (
        Proxy(own_redis.port) as proxy,
        open_timer(f"redis://127.0.0.1:{proxy.port}?socket_timeout=0.3", name="orders") as timer,
        open_timer(own_redis.url, name="orders") as direct,
    ):
        handled = Handled()
        start(timer, handled, lease=timedelta(seconds=1))
        direct.arm([Deadline("1", ago(5))])
        wait_until(lambda: handled.keys == ["1"])
        wait_until(lambda: direct.stats().claimed == 0)  # settled, or it would come again
        proxy.silent()
        wait_until(lambda: away(recorder) == [Kind.TIMER_LOST])
        direct.arm([Deadline("2", ago(5))])
        proxy.restore()
        wait_until(lambda: handled.keys == ["1", "2"])
        assert away(recorder) == LOST_AND_FOUND
