"""Key expiry keeps the contract, and has none of the three faults of the bare mechanism."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import redis
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lapse import Claim, Deadline, Timer, TimerRefused, Worker, open_timer
from lapse.testing.conformance import TimerConformance, wait_until
from lapse.testing.model import timer_machine
from lapse.testing.servers import RedisServer
from lapse.timers.redis.expiry import TOUCHES, RedisExpiry

FAR = 100_000


def expiry_url(server: RedisServer) -> str:
    """Return the mechanism's URL on a server."""
    return server.url.replace("redis://", "redis+expiry://")


class TestRedisExpiry(TimerConformance):
    @pytest.fixture
    def handles(self, redis_server: RedisServer, timer_name: str) -> Callable[[], Timer]:
        """Open a timer of this test's own on the server."""
        return lambda: open_timer(expiry_url(redis_server), name=timer_name)


def test_model(redis_server: RedisServer, timer_name: str) -> None:
    """Any sequence of calls leaves the same states as in a plain dictionary."""
    names = count()
    machine = timer_machine(lambda: open_timer(expiry_url(redis_server), name=f"{timer_name}-{next(names)}"))
    run_state_machine_as_test(machine, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))


@pytest.fixture(scope="module")
def crowded(redis_binary: Path) -> Iterator[RedisServer]:
    """Start a server with as many keys that expire late as a large shop has pending orders."""
    with RedisServer(binary=redis_binary) as server, redis.Redis.from_url(server.url) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(FAR):
            pipeline.set(f"far_{number}", "", ex=7200 + number % 600)
        pipeline.execute()
        yield server


@contextmanager
def subscriber(url: str, received: set[str]) -> Iterator[None]:
    """Listen as the naive script does, to every event of an expired key."""
    stop = threading.Event()
    with redis.Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.psubscribe("__keyevent@0__:expired")
        pubsub.get_message(timeout=1)

        def listen() -> None:
            while not stop.is_set():
                if message := pubsub.get_message(timeout=0.1):
                    received.add(message["data"].decode())

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@contextmanager
def working(timer: Timer, handler: Callable[[list[Claim]], None]) -> Iterator[None]:
    """Run a worker in a thread during the block."""
    worker = Worker(timer, handler, hooks=())
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join()


def test_punctual_where_the_naive_way_is_not(crowded: RedisServer, timer_name: str) -> None:
    """Among 100,000 other keys, each deadline's event comes on time, while most naive keys have sent no event yet."""
    number_due = 200
    received: set[str] = set()
    fired: list[Claim] = []
    with open_timer(expiry_url(crowded), name=timer_name) as timer:
        timer.claim()  # switches on the events
        with (
            subscriber(crowded.url, received),
            working(timer, fired.extend),
            redis.Redis.from_url(crowded.url) as client,
        ):
            due = datetime.now(UTC) + timedelta(seconds=1)
            pipeline = client.pipeline(transaction=False)
            for number in range(number_due):
                pipeline.set(f"naive_{number}", "", px=1000)
            pipeline.execute()
            timer.arm([Deadline(str(number), due) for number in range(number_due)])
            ours = {f"lapse:{timer_name}:{number}" for number in range(number_due)}
            wait_until(lambda: len(fired) == number_due and ours <= received)
            naive = sum(name.startswith("naive_") for name in received)
    assert all(claim.late_by >= timedelta(0) for claim in fired)
    assert naive < number_due / 2


def test_an_event_sent_while_no_listener_is_connected_still_fires(redis_server: RedisServer, timer_name: str) -> None:
    """Events that are sent while no worker runs are lost. The ledger still has every deadline."""
    due = datetime.now(UTC) + timedelta(milliseconds=300)
    with open_timer(expiry_url(redis_server), name=timer_name) as timer:
        timer.arm([Deadline(str(number), due) for number in range(100)])
    with redis.Redis.from_url(redis_server.url) as client:
        names = [f"lapse:{timer_name}:{number}" for number in range(100)]
        wait_until(lambda: client.exists(*names) == 0)
    fired: list[Claim] = []
    with (
        open_timer(expiry_url(redis_server), name=timer_name) as timer,
        working(timer, fired.extend),
    ):
        wait_until(lambda: len(fired) == 100)
    assert len({claim.key for claim in fired}) == 100


def test_past_deadlines_send_an_event_too(redis_server: RedisServer, timer_name: str) -> None:
    """A key that was set to expire in the past would be deleted without an event `expired`."""
    received: set[str] = set()
    with open_timer(expiry_url(redis_server), name=timer_name) as timer:
        timer.claim()
        with subscriber(redis_server.url, received), working(timer, lambda _: None):
            timer.arm([Deadline("1", datetime(2001, 1, 1, tzinfo=UTC))])
            wait_until(lambda: f"lapse:{timer_name}:1" in received)


def test_disarmed_keys_are_gone_and_moved_ones_expire_at_the_new_time(redis_server: RedisServer) -> None:
    """The keys agree with the ledger."""
    with (
        open_timer(expiry_url(redis_server) + "?prefix=nick_", name="moved") as timer,
        redis.Redis.from_url(redis_server.url) as client,
    ):
        hour = datetime.now(UTC) + timedelta(hours=1)
        timer.arm([Deadline("1", hour), Deadline("2", hour)])
        timer.disarm(["1"])
        assert (client.exists("nick_1"), client.exists("nick_2")) == (0, 1)
        timer.arm([Deadline("2", hour + timedelta(hours=1))])
        assert client.ttl("nick_2") > 3700


def test_one_of_many_listeners_gets_each(redis_server: RedisServer, timer_name: str) -> None:
    """However many workers receive the event, one of them fires the order."""
    url = expiry_url(redis_server)
    fired: list[Claim] = []
    due = datetime.now(UTC) + timedelta(milliseconds=500)
    with (
        open_timer(url, name=timer_name) as one,
        open_timer(url, name=timer_name) as two,
        open_timer(url, name=timer_name) as three,
        working(one, fired.extend),
        working(two, fired.extend),
        working(three, fired.extend),
    ):
        one.arm([Deadline(str(number), due + timedelta(milliseconds=number)) for number in range(300)])
        wait_until(lambda: len(fired) >= 300)
    assert sorted(int(claim.key) for claim in fired) == list(range(300))


def test_events_are_switched_on_and_other_flags_kept(redis_binary: Path) -> None:
    """Events that another program needs are still sent."""
    with (
        RedisServer(binary=redis_binary, config={"notify-keyspace-events": "Kg"}) as server,
        redis.Redis.from_url(server.url) as client,
        open_timer(expiry_url(server), name="orders") as timer,
    ):
        timer.claim()
        flags = client.config_get("notify-keyspace-events")["notify-keyspace-events"]
        assert {"K", "g", "E", "x"} <= set(flags)


def test_refused_with_the_line_to_add_where_it_may_not_be_set(redis_binary: Path) -> None:
    """For a user without CONFIG SET the message has the line for redis.conf."""
    with (
        RedisServer(binary=redis_binary) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        client.execute_command("ACL", "SETUSER", "shop", "on", ">pw", "~*", "&*", "+@all", "-config", "+config|get")
        url = expiry_url(server).replace("://", "://shop:pw@")
        with open_timer(url, name="orders") as timer, pytest.raises(TimerRefused, match="notify-keyspace-events Ex"):
            timer.arm([Deadline("1", datetime.now(UTC))])


def test_a_key_that_another_program_set_to_expire_later_is_left_alone(
    redis_server: RedisServer, timer_name: str
) -> None:
    """The key is touched a few times after its claim, and not at all after its deadline is armed or disarmed."""
    name = f"lapse:{timer_name}:1"
    with open_timer(expiry_url(redis_server), name=timer_name) as timer:
        assert isinstance(timer, RedisExpiry)
        for then in ("nothing", "arm", "disarm"):
            timer.arm([Deadline("1", datetime.now(UTC) + timedelta(milliseconds=200))])
            redis_server.ask("SETEX", name, 1000, "longer")
            assert len(timer.claim(1, wait=timedelta(minutes=1))) == 1
            assert list(timer._lingering) == [name]
            if then == "arm":
                timer.arm([Deadline("1", datetime.now(UTC) + timedelta(hours=1))])
            if then == "disarm":
                timer.disarm(["1"])
            assert bool(timer._lingering) == (then == "nothing")
            before = _touched(redis_server)
            assert timer.claim(wait=timedelta(seconds=1)) == []
            assert not timer._lingering
            assert _touched(redis_server) - before <= TOUCHES


def _touched(server: RedisServer) -> int:
    """Return how often the command EXISTS was called on this server."""
    found = re.search(r"cmdstat_exists:calls=(\d+)", str(server.ask("INFO", "commandstats")))
    return int(found[1]) if found else 0
