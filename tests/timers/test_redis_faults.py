"""Redis forgets, refuses, runs full, or loses an answer: none of these faults loses a deadline for good."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from lapse import Claim, Deadline, Timer, TimerUnavailable, open_timer
from lapse.testing.conformance import LONG, ago, ahead, keys_of, wait_until
from lapse.testing.faults import Proxy
from lapse.testing.servers import RedisServer
from lapse.timers.redis.scripts import script


@pytest.fixture
def timer(redis_server: RedisServer, timer_name: str) -> Iterator[Timer]:
    """Open a new timer on each Redis of this machine."""
    with open_timer(redis_server.url, name=timer_name) as timer:
        yield timer


@pytest.fixture
def own(redis_binary: Path) -> Iterator[RedisServer]:
    """Start a server that the test may kill. It writes each change to disk at once."""
    with RedisServer(binary=redis_binary, appendonly=True, config={"appendfsync": "always"}) as server:
        yield server


def test_a_restart_between_claim_and_settle(own: RedisServer) -> None:
    """A lease survives a restart of the server, and so does the right to settle."""
    ours = open_timer(own.url, name="orders")
    ours.arm([Deadline("1", ago(5)), Deadline("2", ahead(LONG))])
    claims = ours.claim(lease=LONG)
    own.kill()
    own.start()
    assert ours.claim() == []
    assert ours.settle(claims) == 1
    assert ours.stats().pending == 1
    ours.close()


def test_forgotten_scripts(redis_server: RedisServer, timer: Timer) -> None:
    """After SCRIPT FLUSH each command sends its script again."""
    flush: Callable[[], object] = lambda: redis_server.ask("SCRIPT", "FLUSH")  # noqa: E731 - called eleven times
    flush()
    timer.arm([Deadline("1", ago(5))])
    flush()
    claims = timer.claim()
    flush()
    assert len(timer.renew(claims, lease=LONG)) == 1
    flush()
    assert timer.release(claims) == 1
    claims = timer.claim()
    flush()
    assert timer.bury(claims, reason="bad") == 1
    flush()
    assert len(timer.buried()) == 1
    flush()
    assert timer.revive(["1"]) == 1
    flush()
    assert timer.stats().due == 1
    flush()
    timer.arm([Deadline("2", ago(4))], only_unknown=True)
    flush()
    timer.disarm(["2"])
    claims = timer.claim()
    flush()
    assert timer.settle(claims) == 1


@pytest.mark.parametrize("evicted", ["lease", "retry", "leased", "token"])
def test_eviction_does_not_jam(redis_server: RedisServer, timer: Timer, evicted: str) -> None:
    """A server that evicts one of the timer's keys and keeps the others causes no error, and the timer goes on."""
    timer.arm([Deadline("1", ago(5)), Deadline("2", ago(4))])
    timer.release(timer.claim(1, lease=timedelta(milliseconds=50)))
    claims = timer.claim(1, lease=timedelta(milliseconds=50))
    redis_server.ask("DEL", f"lapse:{{{timer.name}:0}}:{evicted}")
    wait_until(lambda: timer.stats().claimed == 0)
    if evicted != "leased":  # without this key the lease's end is not noticed: the sweep finds the order
        assert timer.settle(claims) == 0
        assert len(timer.claim(lease=LONG)) == 2
    timer.arm([Deadline("1", ago(5)), Deadline("2", ago(4))])
    wait_until(lambda: timer.stats().due == 2)
    again = timer.claim(lease=LONG)
    assert keys_of(again) == ["1", "2"]
    assert timer.settle(again) == 2


def test_timers_with_similar_names_are_independent(redis_server: RedisServer, timer: Timer) -> None:
    """The same key in two timers is two deadlines, also if one timer's name begins with the other's."""
    with open_timer(redis_server.url, name=f"{timer.name}0") as other:
        timer.arm([Deadline("1", ago(5))])
        assert other.claim() == []
        other.arm([Deadline("1", ahead(LONG))])
        (claim,) = timer.claim()
        assert other.settle([claim]) == 0
        other.disarm(["1"])
        assert timer.settle([claim]) == 1


@pytest.mark.parametrize("command", ["claim", "settle", "release", "renew"])
def test_an_answer_that_is_lost(redis_server: RedisServer, timer: Timer, command: str) -> None:
    """The call takes effect and its answer is lost: the deadline comes back as if the caller had died."""
    lease = timedelta(milliseconds=400)
    # Every script is sent to the server before: the lost answer must be the call's, not that the script is unknown.
    timer.arm([Deadline("0", ago(5))])
    known = timer.renew(timer.claim(lease=LONG), lease=LONG)
    assert timer.release(known) == timer.settle(timer.claim(lease=LONG)) == 1
    timer.arm([Deadline("1", ago(5))])
    with (
        Proxy(redis_server.port) as proxy,
        open_timer(f"redis://127.0.0.1:{proxy.port}?socket_timeout=1", name=timer.name) as far,
    ):
        # A renewal never shortens a lease. The other commands must find their lease still running on a busy machine.
        claims = [] if command == "claim" else far.claim(lease=lease if command == "renew" else LONG)
        call: dict[str, Callable[[], object]] = {
            "claim": lambda: far.claim(lease=lease),
            "settle": lambda: far.settle(claims),
            "release": lambda: far.release(claims),
            "renew": lambda: far.renew(claims, lease=lease),
        }
        proxy.swallow(script(command).digest.encode())
        with pytest.raises(TimerUnavailable):
            call[command]()
        assert proxy.swallowed.wait(30)
        if command == "settle":
            assert timer.stats().pending == timer.stats().claimed == 0
            return
        wait_until(lambda: timer.stats().due == 1)
        (again,) = far.claim(lease=LONG)
        assert (again.key, again.attempt) == ("1", 2)
        assert far.settle([again]) == 1


CLAIMANT = """
import sys, threading
from datetime import timedelta
from lapse import open_timer

def work(timer, taken):
    while claims := timer.claim(13, lease=timedelta(minutes=10)):
        taken += [claim.key for claim in claims]
        timer.settle(claims)

taken = []
with open_timer(sys.argv[1], name=sys.argv[2]) as timer:
    threads = [threading.Thread(target=work, args=(timer, taken)) for _ in range(7)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
print(*taken)
"""


def test_twenty_claimants_in_three_processes(redis_server: RedisServer, timer: Timer) -> None:
    """In any interleaving each deadline goes to exactly one claimant."""
    total = 3000
    timer.arm([Deadline(str(number), ago(5)) for number in range(total)])
    with ExitStack() as stack:
        command = [sys.executable, "-c", CLAIMANT, redis_server.url, timer.name]
        processes = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) for _ in range(3)
        ]
        taken = [key for process in processes for key in process.communicate(timeout=120)[0].split()]
        assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(taken, key=int) == [str(number) for number in range(total)]
    assert timer.stats().pending == timer.stats().claimed == 0


def test_claims_of_one_shard_are_kept_when_another_does_not_answer(redis_server: RedisServer, timer_name: str) -> None:
    """Claims of one shard are returned, not discarded, when the answer of a later shard is lost."""
    with (
        Proxy(redis_server.port) as proxy,
        open_timer(f"redis://127.0.0.1:{proxy.port}?shards=8&socket_timeout=0.3", name=timer_name) as timer,
    ):
        timer.arm([Deadline(str(number), ago(5)) for number in range(80)])
        proxy.swallow(f"lapse:{{{timer_name}:7}}:pending".encode())
        claims: list[Claim] = []
        for _ in range(3):
            try:
                claims += timer.claim(lease=LONG)
            except TimerUnavailable:
                continue
        lost = timer.stats().claimed - len(claims)
        assert proxy.swallowed.is_set()
        assert 0 < lost < 40  # only the keys of that shard
        assert timer.stats().pending == 0


def test_a_waiting_claim_returns_when_the_generation_changes(redis_server: RedisServer, timer: Timer) -> None:
    """After a server has lost its data, a waiting claim returns at once, so that the worker arms the orders again."""
    timer.arm([Deadline("1", ahead(LONG))])
    assert timer.claim() == []
    before = timer.generation()
    waiting = threading.Thread(target=timer.claim, kwargs={"wait": LONG}, daemon=True)
    waiting.start()
    redis_server.ask("FLUSHALL")
    wait_until(lambda: not waiting.is_alive())
    assert timer.generation() != before
