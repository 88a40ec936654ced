"""One bad order does not stop the others; a cause that all share is counted against none."""

import math
import operator
import threading
from datetime import timedelta
from itertools import pairwise

import pytest

from lapse import Claim, Deadline, Kind, Timer, TryLater
from lapse.engine.backoff import Backoff
from tests.engine.running import Handled, Recorder, Start, ago, wait_until

AT_ONCE = Backoff(first=timedelta(milliseconds=1), most=timedelta(milliseconds=5))
NEVER = Backoff(first=timedelta(hours=1))


def bad_for(bad: set[str], calls: list[list[str]], settled: set[str]) -> object:
    """Make a handler that fails as a whole if one of the bad ones is in its batch."""

    def handler(claims: list[Claim]) -> None:
        calls.append([claim.key for claim in claims])
        for claim in claims:
            if claim.key in bad:
                raise LookupError(f"order {claim.key} has no buyer")
        settled.update(claim.key for claim in claims)

    return handler


def in_order(keys: set[str]) -> str:
    """Name a set of keys alike in every process; a set itself has another order in each."""
    return ",".join(sorted(keys, key=int))


@pytest.mark.parametrize("bad", [{"37"}, {"0"}, {"99"}, {"0", "1"}, {"3", "50", "51", "98"}], ids=in_order)
def test_the_others_are_settled(timer: Timer, start: Start, bad: set[str]) -> None:
    """Of 100 all but the bad are settled, in a number of calls that is logarithmic, and the bad wait for their turn."""
    timer.arm([Deadline(str(number), ago(200 - number)) for number in range(100)])
    calls: list[list[str]] = []
    settled: set[str] = set()
    start(timer, bad_for(bad, calls, settled), batch=100, backoff=NEVER)
    counts = operator.attrgetter("claimed", "pending")  # of one moment: the worker goes on between two looks
    wait_until(lambda: counts(timer.stats()) == (0, len(bad)))
    assert settled == {str(number) for number in range(100)} - bad
    stats = timer.stats()
    assert (stats.due, stats.buried) == (0, 0)
    assert len(calls) <= 1 + 2 * len(bad) * math.ceil(math.log2(100))


def test_the_bad_is_buried_in_the_end(timer: Timer, start: Start, recorder: Recorder) -> None:
    """After its last attempt it is buried, its reason is the exception, and one event reports it."""
    timer.arm([Deadline(str(number), ago(5)) for number in range(100)])
    calls: list[list[str]] = []
    start(timer, bad_for({"37"}, calls, set()), batch=100, backoff=AT_ONCE, max_attempts=4)
    wait_until(lambda: recorder.of(Kind.BURIED))
    (buried,) = timer.buried()
    assert (buried.key, buried.attempt) == ("37", 4)
    assert buried.reason == "LookupError: order 37 has no buyer"
    assert calls.count(["37"]) == 4
    (event,) = recorder.of(Kind.BURIED)
    assert (event.count, event.keys, event.reason) == (1, ("37",), buried.reason)
    assert all(isinstance(event.error, LookupError) for event in recorder.of(Kind.FAILED))
    stats = timer.stats()
    assert (stats.pending, stats.claimed, stats.buried) == (0, 0, 1)


def test_the_bad_waits_longer_each_time(timer: Timer, start: Start) -> None:
    """Between two attempts lies at least half of the back-off."""
    first = timedelta(milliseconds=40)
    timer.arm([Deadline("1", ago(5))])
    seen: list[Claim] = []

    def handler(claims: list[Claim]) -> None:
        seen.extend(claims)
        raise LookupError

    start(timer, handler, backoff=Backoff(first=first), max_attempts=4)
    wait_until(lambda: timer.stats().buried == 1)
    waits = [later.claimed_at - earlier.claimed_at for earlier, later in pairwise(seen)]
    assert len(waits) == 3
    for doublings, wait in enumerate(waits):
        assert wait >= first * 2**doublings / 2


def test_backoff_is_bounded() -> None:
    """It doubles from the first to the most, at least half of it is certain, and no attempt is too many."""
    backoff = Backoff(first=timedelta(seconds=1), most=timedelta(seconds=10))
    for attempt, whole in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (10_000, 10)]:
        for _ in range(50):
            assert timedelta(seconds=whole / 2) <= backoff.delay(attempt) <= timedelta(seconds=whole)


def test_try_later_blames_nobody(timer: Timer, start: Start, recorder: Recorder) -> None:
    """While the database is away all are given back, no attempt is counted and nothing is buried; then all are done."""
    timer.arm([Deadline(str(number), ago(5)) for number in range(50)])
    handled = Handled()
    outages: list[set[int]] = []

    def handler(claims: list[Claim]) -> None:
        if len(outages) < 8:
            outages.append({claim.attempt for claim in claims})
            raise TryLater("the database is away", after=timedelta(milliseconds=10))
        handled(claims)

    start(timer, handler, max_attempts=2)
    wait_until(lambda: len(handled.keys) == 50)
    assert outages == [{1}] * 8
    assert sorted(handled.keys, key=int) == [str(number) for number in range(50)]
    assert {claim.attempt for claim in handled.claims} == {1}
    assert not recorder.of(Kind.BURIED)
    assert [event.reason for event in recorder.of(Kind.RELEASED)] == ["the database is away"] * 8


def test_try_later_while_halving_keeps_what_was_done(timer: Timer, start: Start) -> None:
    """What a part has settled stays settled; what was not tried is given back with the part that could not be."""
    timer.arm([Deadline(str(number), ago(20 - number)) for number in range(8)])
    calls: list[list[str]] = []
    handled = Handled()

    def handler(claims: list[Claim]) -> None:
        calls.append([claim.key for claim in claims])
        match len(calls):
            case 1:
                raise LookupError("a bad order in here")
            case 3:
                raise TryLater(after=timedelta(milliseconds=10))
        handled(claims)

    start(timer, handler)
    wait_until(lambda: len(handled.keys) == 8)
    assert calls[:3] == [list("01234567"), list("0123"), list("4567")]
    assert sorted(handled.keys) == list("01234567")
    assert {claim.attempt for claim in handled.claims} == {1}


def test_stopping_halves_no_further(timer: Timer, start: Start) -> None:
    """A batch that fails while the worker stops is given back, uncounted, for another worker to halve."""
    timer.arm([Deadline(str(number), ago(5)) for number in range(64)])
    calls: list[int] = []
    known = threading.Event()

    def handler(claims: list[Claim]) -> None:
        calls.append(len(claims))
        assert known.wait(60)
        running.worker.stop()
        raise LookupError

    running = start(timer, handler)
    known.set()
    running.join()
    assert calls == [64]
    assert timer.stats().due == 64
    assert {claim.attempt for claim in timer.claim()} == {1}
