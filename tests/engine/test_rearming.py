"""The worker arms the unpaid orders again when, and only when, its server may have lost them."""

import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lapse import Deadline, Kind, Timer, open_timer
from lapse.engine.errors import TimerUnavailable
from lapse.testing.faults import Proxy
from lapse.testing.servers import RedisServer
from tests.engine.running import Handled, Recorder, Start, ago, wait_until


class Orders:
    """The shop's unpaid orders: what `rearm` arms, and how often it was called."""

    def __init__(self, timer: Timer, *keys: str) -> None:
        self.timer = timer
        self.unpaid = set(keys)
        self.calls = 0

    def rearm(self) -> int:
        """Arm those that the timer does not know."""
        self.calls += 1
        self.timer.arm([Deadline(key, ago(-3600)) for key in self.unpaid], only_unknown=True)
        return len(self.unpaid)

    @property
    def armed(self) -> bool:
        """Whether the timer knows all of them; False as well where its server does not answer in time."""
        try:
            return self.timer.stats().pending == len(self.unpaid)
        except TimerUnavailable:
            return False


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often and retry soon; in production either takes up to five seconds."""
    monkeypatch.setattr("lapse.engine.claim_loop.CLAIM_WAIT", timedelta(seconds=0.2))
    monkeypatch.setattr("lapse.engine.rearming.RETRY_AFTER", 0.2)


@pytest.fixture
def queue(own_redis: RedisServer) -> Iterator[Timer]:
    """Open a timer on a server of the test's own."""
    with open_timer(own_redis.url, name="orders") as timer:
        yield timer


def stays(condition: Callable[[], bool], seconds: float = 1.0) -> bool:
    """Whether it is so, and still so after some looks of the worker."""
    threading.Event().wait(seconds)
    return condition()


def noted(recorder: Recorder) -> bool:
    """Whether the worker has noted for which memory it armed: a loss from now on is one more, and is the first."""
    return bool(recorder.of(Kind.REARMED))


def take_over(first: RedisServer, second: RedisServer) -> None:
    """Make the second a replica that was promoted before it had received any deadline."""
    for key in ("epoch", "shards"):
        second.ask("SET", f"lapse:{{orders:0}}:{key}", str(first.ask("GET", f"lapse:{{orders:0}}:{key}")))


@pytest.mark.parametrize("shards", [1, 3])
def test_at_the_start_and_never_without_cause(
    own_redis: RedisServer, start: Start, recorder: Recorder, shards: int
) -> None:
    """Each worker arms once when it starts; while nothing is lost it does not do so again, backlog or not."""
    with open_timer(f"{own_redis.url}?shards={shards}", name="orders") as timer:
        timer.arm([Deadline(str(number), ago(5)) for number in range(100)])
        orders = Orders(timer, "a", "b")
        handled = Handled()
        start(timer, handled, rearm=orders.rearm, batch=10)
        wait_until(lambda: len(handled.keys) == 100 and recorder.of(Kind.REARMED))
        assert stays(lambda: orders.calls == 1)
        assert [event.count for event in recorder.of(Kind.REARMED)] == [2]


def test_after_a_flush(own_redis: RedisServer, queue: Timer, start: Start, recorder: Recorder) -> None:
    """An operator empties the server, which goes on running."""
    orders = Orders(queue, "a", "b", "c")
    start(queue, Handled(), rearm=orders.rearm)
    wait_until(lambda: noted(recorder) and orders.armed)
    own_redis.ask("FLUSHALL")
    wait_until(lambda: orders.calls == 2 and orders.armed)
    assert stays(lambda: orders.calls == 2)


def test_after_a_restart_without_data(own_redis: RedisServer, queue: Timer, start: Start, recorder: Recorder) -> None:
    """The server is another process and remembers nothing."""
    orders = Orders(queue, "a", "b", "c")
    handled = Handled()
    start(queue, handled, rearm=orders.rearm)
    wait_until(lambda: noted(recorder) and orders.armed)
    own_redis.kill()
    own_redis.start()
    wait_until(lambda: orders.calls == 2 and orders.armed)
    assert stays(lambda: orders.calls == 2)
    assert len(recorder.of(Kind.REARMED)) == 2


def test_after_a_restart_with_an_older_copy(tmp_path: Path, start: Start, recorder: Recorder) -> None:
    """The server remembers an earlier state, epoch and all; what was armed since is armed again."""
    with RedisServer(tmp_path / "redis") as server, open_timer(server.url, name="orders") as timer:
        orders = Orders(timer, "old")
        start(timer, Handled(), rearm=orders.rearm)
        wait_until(lambda: noted(recorder) and orders.armed)
        server.ask("SAVE")
        shutil.copy(server.directory / "dump.rdb", tmp_path / "old.rdb")
        orders.unpaid.add("young")
        timer.arm([Deadline("young", ago(-3600))])
        server.kill()
        shutil.copy(tmp_path / "old.rdb", server.directory / "dump.rdb")
        server.start()
        wait_until(lambda: orders.calls == 2 and orders.armed)


def test_a_failover_that_only_the_commands_notice(own_redis: RedisServer, start: Start, recorder: Recorder) -> None:
    """The listener's connection is half open and receives nothing; the address leads to another server by now."""
    with (
        RedisServer() as second,
        Proxy(own_redis.port) as proxy,
        open_timer(f"redis://127.0.0.1:{proxy.port}?socket_timeout=0.3", name="orders") as timer,
    ):
        orders = Orders(timer, "a", "b")
        start(timer, Handled(), rearm=orders.rearm)
        wait_until(lambda: noted(recorder) and orders.armed)
        take_over(own_redis, second)
        proxy.move(second.port)
        wait_until(lambda: orders.calls == 2 and orders.armed)


def test_a_restart_that_is_over_at_once(own_redis: RedisServer, start: Start, recorder: Recorder) -> None:
    """Connections that are lost and made again within one command, to another server, do not go unnoticed."""
    with (
        RedisServer() as second,
        Proxy(own_redis.port) as proxy,
        open_timer(f"redis://127.0.0.1:{proxy.port}", name="orders") as timer,
    ):
        orders = Orders(timer, "a", "b")
        start(timer, Handled(), rearm=orders.rearm)
        wait_until(lambda: noted(recorder) and orders.armed)
        threading.Event().wait(0.5)  # until the listener stands, so that it is not its first connection that tells
        before = orders.calls
        take_over(own_redis, second)
        proxy.move(second.port)
        proxy.drop()
        wait_until(lambda: orders.calls == before + 1 and orders.armed)


def test_a_failure_is_tried_again(queue: Timer, start: Start, recorder: Recorder) -> None:
    """The database is away while the orders are to be armed: it is tried until it works, then no more."""
    orders = Orders(queue, "a")
    failures = [ConnectionError("no database")] * 3

    def rearm() -> int:
        if failures:
            raise failures.pop()
        return orders.rearm()

    start(queue, Handled(), rearm=rearm)
    wait_until(lambda: orders.calls == 1)
    assert stays(lambda: orders.calls == 1)
    assert len(recorder.of(Kind.REARMED)) == 1


def test_lapsing_goes_on_meanwhile(queue: Timer, start: Start, recorder: Recorder) -> None:
    """A re-arming that takes long holds up no claim, and is not started a second time."""
    going_on, begun = threading.Event(), []

    def rearm() -> int:
        begun.append(1)
        going_on.wait(60)
        return 0

    handled = Handled()
    start(queue, handled, rearm=rearm)
    wait_until(lambda: begun)
    for key in "abc":
        queue.arm([Deadline(key, ago(5))])
        wait_until(lambda key=key: key in handled.keys)  # type: ignore[misc] # a default binds it
    assert begun == [1]
    assert not recorder.of(Kind.REARMED)
    going_on.set()
    wait_until(lambda: recorder.of(Kind.REARMED))


def test_a_loss_while_arming_arms_again(own_redis: RedisServer, queue: Timer, start: Start) -> None:
    """The server is emptied after the orders were armed and before that was noted: they are armed once more."""
    orders = Orders(queue, "a", "b")

    def rearm() -> int:
        count = orders.rearm()
        if orders.calls == 1:
            own_redis.ask("FLUSHALL")
        return count

    start(queue, Handled(), rearm=rearm)
    wait_until(lambda: orders.calls == 2 and orders.armed)
