"""Failures of a RabbitMQ broker and of processes that claim from it: no deadline is lost, and none is early."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from lapse import Claim, Deadline, Timer, TimerUnavailable, open_timer
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.testing.conformance import LONG, PATIENCE, ago, ahead, keys_of, wait_until
from lapse.testing.ports import free_port
from lapse.testing.servers import RabbitServer
from lapse.timers.rabbitmq import claiming, publisher
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.publisher import Publisher
from lapse.timers.rabbitmq.queues import RESTORES, Names
from lapse.timers.rabbitmq.reconnecting import Reconnecting
from tests.rabbit_here import skip_without_rabbit

RECOVERY = 120.0
"""Seconds in which a broker recovers thousands of messages, also on a busy machine."""

CLAIMANT = Path(__file__).with_name("rabbitmq_claimant.py")


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitServer]:
    """Start a broker that tests may kill."""
    skip_without_rabbit()
    with RabbitServer() as server:
        yield server


@pytest.fixture
def timer(broker: RabbitServer, timer_name: str) -> Iterator[Timer]:
    """Open a timer on that broker."""
    with open_timer(broker.url, name=timer_name) as timer:
        yield timer


def claim_if_available(timer: Timer, limit: int = 500, *, wait: timedelta = timedelta(seconds=2)) -> list[Claim]:
    """Claim as a worker does, or return no claims while the broker is unavailable."""
    try:
        return timer.claim(limit, wait=wait, lease=LONG)
    except TimerUnavailable:
        return []


def claim_until(timer: Timer, count: int) -> list[Claim]:
    """Claim until there are so many claims."""
    claims: list[Claim] = []

    def enough() -> bool:
        claims.extend(claim_if_available(timer))
        return len(claims) >= count

    wait_until(enough)
    return claims


def start_claimant(url: str, name: str, limit: int) -> tuple[subprocess.Popen[str], dict[str, int]]:
    """Start a process that claims and keeps its claims. Return the process, and its claims' tokens by key."""
    process = subprocess.Popen(
        [sys.executable, str(CLAIMANT), url, name, str(limit)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    held = {}
    while line := process.stdout.readline().strip():
        key, token = line.rsplit(maxsplit=1)
        held[key] = int(token)
    return process, held


@pytest.mark.parametrize("how", ["killed", pytest.param("restarted", marks=pytest.mark.long)])
def test_a_broker_that_comes_back_has_lost_nothing(broker: RabbitServer, timer: Timer, how: str) -> None:
    """Thousands of deadlines wait in all levels while the broker is killed or restarted: each fires, none early."""
    total = 3000
    due = {str(number): ahead(timedelta(seconds=number / 400)) for number in range(total)}
    timer.arm([Deadline(key, at) for key, at in due.items()])
    before = timer.generation()
    seen: dict[str, Claim] = {}

    def claim_and_settle_until(count: int) -> None:
        end = SYSTEM_CLOCK.monotonic() + RECOVERY
        while len(seen) < count and SYSTEM_CLOCK.monotonic() < end:
            claims = claim_if_available(timer)
            seen.update((claim.key, claim) for claim in claims)
            with suppress(TimerUnavailable):  # the deadlines are claimed again then
                timer.settle(claims)
        assert len(seen) >= count

    claim_and_settle_until(300)
    if how == "killed":
        broker.kill()
        broker.start()
    else:
        broker.restart()
    claim_and_settle_until(total)
    assert set(seen) == set(due)
    assert all(claim.claimed_at >= due[key] for key, claim in seen.items())
    assert timer.generation() == before


@pytest.mark.long
@pytest.mark.parametrize("due_in", [timedelta(hours=1), timedelta(seconds=-5)], ids=["later", "now"])
def test_the_first_deadlines_ever_armed_outlive_an_immediate_crash(
    broker: RabbitServer, timer: Timer, due_in: timedelta
) -> None:
    """A broker killed as soon as it has confirmed the first deadlines comes back with all queues and deadlines."""
    keys = [str(number) for number in range(100)]
    timer.arm([Deadline(key, ahead(due_in)) for key in keys])
    broker.kill()
    broker.start()
    wait_until(lambda: _pending(timer) == len(keys))


def test_claims_of_a_killed_process_go_to_another(broker: RabbitServer, timer: Timer) -> None:
    """They are second attempts under a higher token. Deadlines that the killed process had not claimed are first."""
    timer.arm([Deadline(f"{number:02}", ago(5)) for number in range(30)])
    process, held = start_claimant(broker.url, timer.name, 10)
    assert len(held) == 10
    process.kill()
    process.communicate()
    claims = claim_until(timer, 30)
    assert {claim.key for claim in claims if claim.attempt == 2} == set(held)
    assert {claim.attempt for claim in claims} == {1, 2}
    assert all(claim.token > held[claim.key] for claim in claims if claim.key in held)


def test_claims_of_a_frozen_process_go_to_another(broker: RabbitServer, timer: Timer) -> None:
    """The broker misses heartbeats and requeues the claims, although the process's own lease would last longer."""
    timer.arm([Deadline("1", ago(5))])
    process, held = start_claimant(f"{broker.url}?heartbeat=2", timer.name, 1)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        assert claim_if_available(timer, wait=timedelta(0)) == []
        (claim,) = timer.claim(wait=PATIENCE)
        assert (claim.attempt, set(held)) == (2, {"1"})
        assert claim.token > held["1"]
    finally:
        process.kill()
        process.communicate()


def test_a_broker_that_hangs_is_unavailable(broker: RabbitServer, timer: Timer) -> None:
    """Settling and claiming raise, and claims become void. Afterwards arming and claiming work again."""
    timer.arm([Deadline("1", ago(5))])
    claims = timer.claim(lease=LONG)
    broker.freeze()
    try:
        with pytest.raises(TimerUnavailable):
            timer.settle(claims)
        with pytest.raises(TimerUnavailable):
            timer.claim()
    finally:
        broker.thaw()
    assert timer.settle(claims) == 0
    # The broker may or may not have read the settlement of "1" before it noticed that the connection was gone.
    timer.arm([Deadline("2", ago(5))])
    assert "2" in keys_of(claim_until(timer, 1))


@pytest.mark.long
def test_arming_on_a_stopped_broker_raises(broker: RabbitServer, timer: Timer) -> None:
    """The call raises, so no deadline counts as armed that is not. Repeated after the restart, the call arms."""
    timer.arm([Deadline("1", ago(5))])
    broker.stop()
    for _ in range(2):
        with pytest.raises(TimerUnavailable, match=f"127.0.0.1:{broker.port}"):
            timer.arm([Deadline("2", ago(5))])
    broker.start()
    timer.arm([Deadline("2", ago(5))])
    assert sorted(keys_of(claim_until(timer, 2))) == ["1", "2"]


@pytest.mark.parametrize(
    ("alarm", "calm"),
    [
        (["set_vm_memory_high_watermark", "0.0000001"], ["set_vm_memory_high_watermark", "absolute", "1GiB"]),
        pytest.param(["set_disk_free_limit", "900000GB"], ["set_disk_free_limit", "50MB"], marks=pytest.mark.long),
    ],
    ids=["memory", "disk"],
)
def test_a_broker_without_memory_or_disk_accepts_nothing_and_can_be_drained(
    broker: RabbitServer, timer: Timer, alarm: list[str], calm: list[str]
) -> None:
    """Under an alarm arming raises and says why, and so does the check. Due deadlines are still claimed and settled."""
    timer.arm([Deadline(str(number), ago(5)) for number in range(5)])
    assert all(finding.fit for finding in timer.check())
    broker.control(*alarm)
    try:
        with pytest.raises(TimerUnavailable, match="short of"):
            timer.arm([Deadline("more", ago(5))])
        assert any("alarm" in finding.text for finding in timer.check() if not finding.fit)
        assert timer.settle(timer.claim(wait=PATIENCE)) == 5
    finally:
        broker.control(*calm)
    wait_until(lambda: _armed(timer, "again"))


@pytest.mark.long
def test_early_messages_count_no_attempts_while_a_broker_accepts_nothing(
    broker: RabbitServer, timer: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An early message cannot be sent back to wait: due ones are claimed all the same, and the early one is kept."""
    monkeypatch.setattr(claiming, "SOON", 60_000)
    due_at = ahead(timedelta(seconds=30))  # a busy broker takes many seconds to carry out `control`
    with monkeypatch.context() as clock_ahead:
        real = publisher.milliseconds_now
        clock_ahead.setattr(publisher, "milliseconds_now", lambda: real() + 29_500)
        timer.arm([Deadline("early", due_at)])
    timer.arm([Deadline("due", ago(5))])
    wait_until(lambda: timer.stats().due == 2)
    broker.control("set_vm_memory_high_watermark", "0.0000001")
    try:
        assert keys_of(timer.claim(lease=LONG)) == ["due"]
        (claim,) = timer.claim(wait=PATIENCE)
        assert (claim.key, claim.attempt) == ("early", 2)  # it was delivered once before, together with the due one
        assert claim.claimed_at >= due_at
    finally:
        broker.control("set_vm_memory_high_watermark", "absolute", "1GiB")
    wait_until(lambda: _armed(timer, "again"))


def test_threads_that_wait_for_a_broker_share_one_try(broker: RabbitServer, timer_name: str) -> None:
    """Many threads that arm while no broker answers share one try to connect: they do not try one after the other."""
    tries: list[None] = []

    def open_publisher() -> Publisher:
        tries.append(None)
        return Publisher(Address.parse(broker.url.replace(str(broker.port), str(free_port()))), Names(timer_name))

    reconnecting = Reconnecting(open_publisher)
    refused: list[TimerUnavailable] = []

    def get() -> None:
        with pytest.raises(TimerUnavailable) as caught:
            reconnecting.get()
        refused.append(caught.value)

    with reconnecting._lock:
        threads = [threading.Thread(target=get) for _ in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: all(_waits(thread) for thread in threads))
    for thread in threads:
        thread.join()
    assert (len(refused), len(tries)) == (8, 1)


def _waits(thread: threading.Thread) -> bool:
    """Return whether the thread waits for the lock: it has begun to run `get`, and is still there."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == "get" and "failures" in frame.f_locals


@pytest.mark.long
def test_restoring_continues_after_a_lost_connection(broker: RabbitServer, timer: Timer) -> None:
    """It counts as one restore of the generation, however often the connection is lost in between."""
    orders = [Deadline(str(number), ahead(LONG)) for number in range(10)]
    for number in range(RESTORES + 2):
        timer.arm(orders[: 2 * number + 2], only_unknown=True)
        broker.control("close_all_connections", "lost")
        wait_until(lambda: _pending(timer) >= 0)
    timer.arm(orders, only_unknown=True)
    assert timer.stats().pending == len(orders)


def _armed(timer: Timer, key: str) -> bool:
    try:
        timer.arm([Deadline(key, ago(5))])
    except TimerUnavailable:
        return False
    return True


def _pending(timer: Timer) -> int:
    try:
        return timer.stats().pending
    except TimerUnavailable:
        return -1
