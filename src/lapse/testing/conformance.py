"""The test suite that every timer must pass. A new mechanism is complete when the suite passes.

Subclass `TimerConformance` in a test module and define one fixture:

    class TestMyTimer(TimerConformance):
        @pytest.fixture
        def handles(self):
            return lambda: open_timer("my://server", name="a name for this test alone")

The fixture's value opens a handle on one store each time it is called; the store is empty when the test begins. The
suite never asserts how fast a deadline fires. It asserts that each deadline fires, and that none fires early.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import TypeVar

import pytest

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim, Deadline
from lapse.engine.errors import InvalidDeadline, TimerUnavailable
from lapse.engine.timer import FRESH_SHARE, Timer

SOON = timedelta(milliseconds=200)
SHORT_LEASE = timedelta(milliseconds=200)
T = TypeVar("T")

LONG = timedelta(minutes=10)
PATIENCE = timedelta(seconds=90)
"""Long enough for a machine that is ten times slower than usual; a test that passes never waits for so long."""

ODD_KEYS = [
    "1001",
    " ",
    "订单-1",
    "ключ",
    "🧾",
    "a:b:c",
    "{tag}",
    "%",
    "*?[x]",
    "'; --",
    "\\",
    "\n",
    "x" * 512,
    "-1",
    "nil",
]


def ago(seconds: float) -> datetime:
    """Return the moment the given number of seconds before now."""
    return datetime.now(UTC) - timedelta(seconds=seconds)


def ahead(delay: timedelta) -> datetime:
    """Return the moment `delay` after now."""
    return datetime.now(UTC) + delay


def keys_of(claims: Sequence[Claim]) -> list[str]:
    """Return the claims' keys, in order."""
    return [claim.key for claim in claims]


class TimerConformance:
    """The suite. `timer` is the first handle; a test that needs another handle calls `handles`."""

    @pytest.fixture
    def handles(self) -> Callable[[], Timer]:
        """Return a function that opens a handle on this test's own store."""
        raise NotImplementedError("define the fixture `handles` in the subclass: it opens your timer")

    @pytest.fixture
    def timer(self, handles: Callable[[], Timer]) -> Iterator[Timer]:
        """Open the first handle and close it after the test."""
        with handles() as timer:
            yield timer

    def claim_all(self, timer: Timer, count: int, *, lease: timedelta = LONG) -> list[Claim]:
        """Claim until there are `count` claims, for 30 seconds at most, and return them."""
        claims: list[Claim] = []
        end = SYSTEM_CLOCK.monotonic() + PATIENCE.total_seconds()
        while len(claims) < count and SYSTEM_CLOCK.monotonic() < end:
            claims += timer.claim(count - len(claims), wait=timedelta(seconds=1), lease=lease)
        assert len(claims) == count
        return claims

    # --- arming, and when something is due ---

    def test_a_deadline_is_handed_out_after_its_time_and_never_before(self, timer: Timer) -> None:
        """Given a deadline soon, when it is claimed, then the timer's clock has passed the deadline."""
        due_at = ahead(SOON)
        timer.arm([Deadline("1", due_at)])
        (claim,) = self.claim_all(timer, 1)
        assert claim.key == "1"
        assert claim.attempt == 1
        assert claim.due_at >= due_at
        assert claim.late_by >= timedelta(0)

    def test_a_far_deadline_is_not_due(self, timer: Timer) -> None:
        """Given only far deadlines, a claim returns nothing."""
        timer.arm([Deadline("1", ahead(LONG)), Deadline("2", datetime(9999, 12, 31, tzinfo=UTC))])
        assert timer.claim() == []
        assert timer.claim(wait=timedelta(milliseconds=50)) == []

    def test_past_deadlines_are_due_at_once(self, timer: Timer) -> None:
        """Past deadlines are handed out, oldest first, with the due times that were armed."""
        long_ago = datetime(1969, 7, 20, 20, 17, tzinfo=UTC)
        timer.arm([Deadline("past", ago(1)), Deadline("older", long_ago)])
        claims = self.claim_all(timer, 2)
        assert keys_of(claims) == ["older", "past"]
        assert claims[0].due_at == long_ago

    def test_fractions_of_a_millisecond_are_rounded_up(self, timer: Timer) -> None:
        """A deadline is never rounded to an earlier moment."""
        due_at = datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=UTC)
        timer.arm([Deadline("1", due_at)])
        (claim,) = self.claim_all(timer, 1)
        assert claim.due_at >= due_at

    def test_the_time_zone_does_not_matter(self, timer: Timer) -> None:
        """The same moment in another time zone is the same deadline."""
        moment = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
        timer.arm([Deadline("1", moment.astimezone(timezone(timedelta(hours=8))))])
        assert self.claim_all(timer, 1)[0].due_at == moment

    def test_arming_again_moves_the_deadline(self, timer: Timer) -> None:
        """The deadline armed last counts, earlier or later. Without `can_disarm` the first deadline fires too."""
        timer.arm([Deadline("later", ago(5)), Deadline("earlier", ahead(LONG))])
        timer.arm([Deadline("later", ahead(LONG)), Deadline("earlier", ago(5))])
        fires = ["earlier"] if timer.traits.can_disarm else ["earlier", "later"]
        assert sorted(keys_of(timer.claim())) == fires

    def test_of_one_key_armed_twice_the_last_deadline_counts(self, timer: Timer) -> None:
        """Also within one call of `arm`."""
        timer.arm([Deadline("1", ago(5)), Deadline("1", ahead(LONG))])
        assert timer.claim() == []
        assert timer.stats().pending == 1

    def test_empty_calls_do_nothing(self, timer: Timer) -> None:
        """Every method takes an empty list."""
        timer.arm([])
        timer.disarm([])
        assert timer.settle([]) == timer.release([]) == timer.bury([], reason="") == timer.revive([]) == 0
        assert timer.renew([]) == []

    def test_disarmed_is_not_handed_out(self, timer: Timer) -> None:
        """With `can_disarm` a disarmed key does not fire. Unknown keys are ignored. The key can be armed again."""
        timer.arm([Deadline("1", ago(1)), Deadline("2", ago(1))])
        timer.disarm(["1", "unknown"])
        fires = ["2"] if timer.traits.can_disarm else ["1", "2"]
        assert sorted(keys_of(self.claim_all(timer, len(fires)))) == fires
        assert timer.claim() == []
        timer.arm([Deadline("1", ago(1))])
        assert keys_of(self.claim_all(timer, 1)) == ["1"]

    def test_odd_keys(self, timer: Timer) -> None:
        """Any valid Unicode is a key, and a claim has the key exactly as it was armed."""
        timer.arm([Deadline(key, ago(10)) for key in ODD_KEYS])
        claims = self.claim_all(timer, len(ODD_KEYS))
        assert sorted(keys_of(claims)) == sorted(ODD_KEYS)
        assert len(timer.renew(claims)) == len(ODD_KEYS)
        assert timer.settle(claims) == len(ODD_KEYS)
        assert timer.stats().pending == 0

    @pytest.mark.parametrize("key", ["", "a\0b", "x" * 513, "\ud800", None, 7])
    def test_impossible_keys_are_refused(self, key: str) -> None:
        """A key that one mechanism could not store is refused for every mechanism."""
        with pytest.raises(InvalidDeadline):
            Deadline(key, ago(1))

    def test_naive_times_are_refused(self) -> None:
        """A time without a zone could be any of 38 moments, so it is refused."""
        with pytest.raises(InvalidDeadline, match="aware"):
            Deadline("1", datetime(2024, 1, 1))  # noqa: DTZ001 - what is refused

    @pytest.mark.parametrize(
        "due_at",
        [
            datetime.max.replace(tzinfo=UTC),  # it would be rounded up to the year 10000
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-8))),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=8))),
        ],
        ids=["the latest", "the latest in the west", "the earliest in the east"],
    )
    def test_times_that_no_timer_can_represent_are_refused(self, due_at: datetime) -> None:
        """A time after the year 9999 or before the year 1 in UTC is refused for every mechanism."""
        with pytest.raises(InvalidDeadline, match="years 1 and 9999"):
            Deadline("1", due_at)

    def test_only_unknown_restores_and_disturbs_nothing(self, timer: Timer) -> None:
        """`only_unknown` leaves pending, claimed and buried keys as they are; without `can_disarm` a few may double."""
        timer.arm([Deadline("pending", ahead(LONG)), Deadline("claimed", ago(9)), Deadline("buried", ago(8))])
        claimed, to_bury = self.claim_all(timer, 2)
        timer.bury([to_bury], reason="bad")
        names = ["pending", "claimed", "buried", "lost"]
        timer.arm([Deadline(name, ago(1)) for name in names], only_unknown=True)
        doubled = set() if timer.traits.can_disarm else {"pending", "buried"}
        assert {"lost"} <= set(keys_of(timer.claim(lease=LONG))) <= {"lost", *doubled}
        assert timer.settle([claimed]) == 1
        assert [buried.key for buried in timer.buried()] == ["buried"]

    def test_thousands_at_once(self, timer: Timer) -> None:
        """More keys than fit into two messages are armed in one call, claimed in batches and settled, each key once."""
        total = 5000
        timer.arm([Deadline(f"{number:04}", ago(100 - number / 100)) for number in range(total)])
        seen: list[str] = []
        while claims := timer.claim(1500, lease=LONG):
            seen += keys_of(claims)
            assert len(claims) <= 1500
            assert timer.settle(claims) == len(claims)
        assert len(seen) == total
        assert len(set(seen)) == total

    # --- order ---

    def test_oldest_first(self, timer: Timer) -> None:
        """In any order of arming, the oldest are claimed first, also over several claims."""
        names = [f"{number:02}" for number in range(20)]
        shuffled = random.Random(7).sample(names, len(names))  # noqa: S311 - a fixed shuffle
        timer.arm([Deadline(name, ago(100 - int(name))) for name in shuffled])
        claims = [claim for _ in range(10) for claim in timer.claim(2, lease=LONG)]
        if timer.traits.ordered:
            assert keys_of(claims) == names
        else:
            assert sorted(keys_of(claims)) == names

    def test_one_claim_of_all_is_in_order(self, timer: Timer) -> None:
        """Also where a timer has several parts, one claim returns its keys by due time."""
        timer.arm([Deadline(f"{number:02}", ago(100 - number)) for number in reversed(range(30))])
        assert keys_of(timer.claim(500, lease=LONG)) == [f"{number:02}" for number in range(30)]

    def test_a_backlog_does_not_starve_new_deadlines(self, timer: Timer) -> None:
        """Most of a claim are the oldest keys of a backlog; at most a fifth are the youngest."""
        timer.arm([Deadline(f"{number:03}", ago(1000 - number)) for number in range(100)])
        claims = timer.claim(20, lease=LONG)
        oldest = [f"{number:03}" for number in range(20)]
        few = 20 // FRESH_SHARE
        assert len(set(keys_of(claims))) == 20
        if not timer.traits.ordered:
            return  # each part has a backlog of its own
        assert keys_of(claims)[: 20 - few] == oldest[: 20 - few]
        assert set(keys_of(claims)[20 - few :]) <= {*oldest, *(f"{number:03}" for number in range(100 - few, 100))}

    # --- leases ---

    def test_a_claimed_key_is_not_handed_out_again_during_its_lease(
        self, timer: Timer, handles: Callable[[], Timer]
    ) -> None:
        """Another claimant does not get the key."""
        timer.arm([Deadline("1", ago(1))])
        (claim,) = self.claim_all(timer, 1)
        assert claim.leased_until > claim.claimed_at
        with handles() as other:
            assert other.claim() == []
            assert other.stats().claimed == (1 if timer.traits.exact_stats else 0)
            assert timer.stats().claimed == 1

    def test_a_key_is_handed_out_again_after_its_lease(self, timer: Timer) -> None:
        """The next claim has the same due time, the next attempt and a higher token."""
        timer.arm([Deadline("1", ago(5))])
        (first,) = self.claim_all(timer, 1, lease=SHORT_LEASE)
        (second,) = self.claim_all(timer, 1)
        assert second.claimed_at >= first.leased_until
        assert second.due_at == first.due_at
        assert second.attempt == 2
        assert second.token > first.token

    def test_a_stale_claim_changes_nothing(self, timer: Timer) -> None:
        """A worker that was frozen beyond its lease has an old token: all its calls are ignored."""
        timer.arm([Deadline("1", ago(5))])
        (stale,) = self.claim_all(timer, 1, lease=SHORT_LEASE)
        (current,) = self.claim_all(timer, 1)
        assert timer.settle([stale]) == 0
        assert timer.release([stale]) == 0
        assert timer.bury([stale], reason="late") == 0
        assert timer.renew([stale]) == []
        assert timer.settle([current]) == 1
        assert timer.stats().pending == 0

    def test_an_ended_lease_is_lost_even_without_another_claim(self, timer: Timer) -> None:
        """A token is valid as long as its lease, no longer."""
        timer.arm([Deadline("1", ago(5))])
        (claim,) = self.claim_all(timer, 1, lease=SHORT_LEASE)
        wait_until(lambda: timer.stats().claimed == 0)
        assert timer.settle([claim]) == 0
        if not timer.traits.exact_stats:
            wait_until(lambda: timer.stats().due == 1)
            return
        stats = timer.stats()
        assert (stats.due, stats.oldest_due) == (1, claim.due_at)

    def test_renewing_extends_the_lease(self, timer: Timer) -> None:
        """A renewed lease is counted from the renewal."""
        timer.arm([Deadline("1", ago(5))])
        (claim,) = self.claim_all(timer, 1, lease=timedelta(seconds=5))
        (renewed,) = timer.renew([claim], lease=LONG)
        assert renewed.leased_until > claim.leased_until
        assert (renewed.key, renewed.token, renewed.attempt) == (claim.key, claim.token, claim.attempt)
        assert timer.claim() == []
        assert timer.settle([claim]) == 1

    def test_many_claimants_never_get_the_same(self, timer: Timer, handles: Callable[[], Timer]) -> None:
        """Each deadline goes to one of the threads that claim at once. What finds the store busy is repeated."""
        total = 2000
        timer.arm([Deadline(str(number), ago(5)) for number in range(total)])
        taken: list[str] = []
        with_lock = threading.Lock()

        def work() -> None:
            with handles() as mine:
                while claims := once_free(partial(mine.claim, 17, lease=LONG)):
                    with with_lock:
                        taken.extend(keys_of(claims))
                    once_free(partial(mine.settle, claims))

        run_together([work] * 6)
        assert len(taken) == total
        assert len(set(taken)) == total

    # --- what becomes of a claim ---

    def test_a_settled_key_is_gone(self, timer: Timer) -> None:
        """A settled key is unknown to the timer, and cannot be settled twice."""
        timer.arm([Deadline("1", ago(1))])
        claims = self.claim_all(timer, 1)
        assert timer.settle(claims) == 1
        assert timer.settle(claims) == 0
        assert timer.claim() == []

    def test_a_released_key_is_handed_out_again(self, timer: Timer) -> None:
        """At once, with its first due time, and the attempt is counted."""
        timer.arm([Deadline("1", ago(5))])
        claims = self.claim_all(timer, 1)
        assert timer.release(claims) == 1
        (again,) = self.claim_all(timer, 1)
        assert (again.attempt, again.due_at) == (2, claims[0].due_at)

    def test_a_key_released_with_a_delay_is_handed_out_after_the_delay(self, timer: Timer) -> None:
        """Never before the delay is over, and with its first due time."""
        timer.arm([Deadline("1", ago(5))])
        (claim,) = self.claim_all(timer, 1)
        assert timer.release([claim], delay=SOON) == 1
        (again,) = self.claim_all(timer, 1)
        assert again.claimed_at >= claim.claimed_at + SOON
        assert (again.attempt, again.due_at) == (2, claim.due_at)

    def test_a_long_delay_is_kept(self, timer: Timer) -> None:
        """Until the delay is over the key is pending, not due."""
        timer.arm([Deadline("1", ago(5))])
        timer.release(self.claim_all(timer, 1), delay=LONG)
        assert timer.claim() == []
        stats = timer.stats()
        assert (stats.pending, stats.due, stats.claimed) == (1, 0, 0)

    def test_a_forgiven_attempt_is_not_counted(self, timer: Timer) -> None:
        """The next claim has the same attempt number."""
        timer.arm([Deadline("1", ago(5))])
        timer.release(self.claim_all(timer, 1), forgive=True)
        assert self.claim_all(timer, 1)[0].attempt == 1

    def test_attempts_add_up(self, timer: Timer) -> None:
        """Releases and lost leases count as attempts; arming resets the count."""
        timer.arm([Deadline("1", ago(5))])
        timer.release(self.claim_all(timer, 1))
        self.claim_all(timer, 1, lease=SHORT_LEASE)
        claims = self.claim_all(timer, 1)
        assert claims[0].attempt == 3
        timer.arm([Deadline("1", ago(5))])
        assert self.claim_all(timer, 1)[0].attempt == 1

    def test_arming_ends_a_claim(self, timer: Timer) -> None:
        """Arming during a claim, as when an order's deadline moves, voids the claim; the new time counts."""
        timer.arm([Deadline("1", ago(5))])
        claims = self.claim_all(timer, 1)
        timer.arm([Deadline("1", ahead(LONG))])
        assert timer.settle(claims) == 0
        stats = timer.stats()
        assert (stats.pending, stats.due, stats.claimed) == (1, 0, 0)

    def test_disarming_ends_a_claim(self, timer: Timer) -> None:
        """Disarming during a claim, as when the order is paid, voids the claim."""
        timer.arm([Deadline("1", ago(5))])
        claims = self.claim_all(timer, 1)
        timer.disarm(["1"])
        assert timer.release(claims) == 0
        assert timer.stats().pending == timer.stats().claimed == 0

    def test_a_buried_key_does_not_fire_until_it_is_revived(self, timer: Timer) -> None:
        """A buried key is listed with its reason, and can be revived once."""
        timer.arm([Deadline("1", ago(5)), Deadline("2", ago(4))])
        first, second = self.claim_all(timer, 2)
        assert timer.bury([first], reason="no such: 订单") == 1
        assert timer.bury([second], reason="other") == 1
        listed = {buried.key: buried for buried in timer.buried()}
        assert (listed["1"].reason, listed["1"].attempt, listed["1"].due_at) == ("no such: 订单", 1, first.due_at)
        assert listed["1"].buried_at >= first.claimed_at
        assert timer.claim() == []
        assert timer.stats().buried == 2
        assert len(timer.buried(limit=1)) == 1
        assert timer.revive(["1", "unknown"]) == 1
        assert timer.revive(["1"]) == 0
        (again,) = self.claim_all(timer, 1)
        assert (again.key, again.attempt, again.due_at) == ("1", 1, first.due_at)

    def test_a_buried_key_can_be_armed_or_disarmed(self, timer: Timer) -> None:
        """With `can_disarm` both remove the key from the buried ones; the armed key fires."""
        timer.arm([Deadline("1", ago(5)), Deadline("2", ago(5))])
        timer.bury(self.claim_all(timer, 2), reason="bad")
        timer.arm([Deadline("1", ago(5))])
        timer.disarm(["2"])
        still_buried = [] if timer.traits.can_disarm else ["1", "2"]
        assert sorted(buried.key for buried in timer.buried()) == still_buried
        assert keys_of(self.claim_all(timer, 1)) == ["1"]

    def test_large_batches_of_every_kind(self, timer: Timer) -> None:
        """More keys than fit into one message are renewed, released, buried, revived and disarmed."""
        total = 2500
        timer.arm([Deadline(f"{number}", ago(5)) for number in range(total)])
        claims = self.claim_all(timer, total)
        assert len(timer.renew(claims, lease=LONG)) == total
        assert timer.release(claims) == total
        claims = self.claim_all(timer, total)
        assert timer.bury(claims, reason="all") == total
        assert len(timer.buried(limit=total + 1)) == total
        assert timer.revive(keys_of(claims)) == total
        timer.disarm(keys_of(claims))
        if not timer.traits.can_disarm:
            assert timer.settle(self.claim_all(timer, total)) == total
        stats = timer.stats()
        assert (stats.pending, stats.claimed, stats.buried) == (0, 0, 0)

    # --- waiting ---

    def test_a_waiting_claim_is_woken_by_an_earlier_arrival(self, timer: Timer, handles: Callable[[], Timer]) -> None:
        """A claim does not sleep until the deadline that was the next when it began to wait."""
        timer.arm([Deadline("far", ahead(LONG))])
        found: list[Claim] = []

        def wait() -> None:
            found.extend(timer.claim(wait=PATIENCE, lease=LONG))

        waiting = threading.Thread(target=wait)
        waiting.start()
        with handles() as other:
            other.arm([Deadline("near", ahead(SOON))])
            waiting.join(PATIENCE.total_seconds() * 2)
        assert keys_of(found) == ["near"]
        assert found[0].late_by >= timedelta(0)

    def test_a_wait_without_a_due_key_ends_on_time(self, timer: Timer) -> None:
        """The claim returns nothing, and not before the wait is over."""
        begun = SYSTEM_CLOCK.monotonic()
        assert timer.claim(wait=SOON) == []
        assert SYSTEM_CLOCK.monotonic() - begun >= SOON.total_seconds()

    def test_wake_ends_a_wait(self, timer: Timer) -> None:
        """`wake` ends the wait under way, or else the next wait."""
        timer.wake()
        assert timer.claim(wait=timedelta(hours=1)) == []
        waiting = threading.Thread(target=timer.claim, kwargs={"wait": timedelta(hours=1)})
        waiting.start()
        timer.wake()
        waiting.join(PATIENCE.total_seconds())
        assert not waiting.is_alive()

    # --- statistics ---

    def test_stats_count(self, timer: Timer) -> None:
        """Each state has its count, and the times are those that were armed."""
        empty = timer.stats()
        assert (empty.pending, empty.due, empty.claimed, empty.buried) == (0, 0, 0, 0)
        assert empty.oldest_due is empty.next_due is None
        oldest, upcoming = ago(50).replace(microsecond=0), ahead(LONG).replace(microsecond=0)
        timer.arm([Deadline(name, ago(100)) for name in ("claimed", "buried")])
        for claim in self.claim_all(timer, 2):
            if claim.key == "buried":
                timer.bury([claim], reason="bad")
        timer.arm([Deadline("old", oldest), Deadline("due", ago(1)), Deadline("next", upcoming)])
        timer.arm([Deadline("last", ahead(2 * LONG))])
        stats = timer.stats()
        assert (stats.pending, stats.due, stats.claimed, stats.buried) == (4, 2, 1, 1)
        times = (oldest, upcoming) if timer.traits.exact_stats else (None, None)
        assert (stats.oldest_due, stats.next_due) == times

    def test_the_generation_is_stable(self, timer: Timer, handles: Callable[[], Timer]) -> None:
        """The generation changes only when the timer has lost deadlines, which must then be armed again."""
        timer.claim()
        before = timer.generation()
        timer.arm([Deadline("1", ago(1))])
        self.claim_all(timer, 1)
        assert timer.generation() == before
        with handles() as other:
            other.claim()
            assert other.generation() == before


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds. Raises AssertionError after 30 seconds."""
    end = SYSTEM_CLOCK.monotonic() + PATIENCE.total_seconds()
    pause = threading.Event()
    while not condition():
        assert SYSTEM_CLOCK.monotonic() < end, "the condition did not come true"
        pause.wait(0.01)


def once_free(call: Callable[[], T]) -> T:
    """Return what the call returns, repeating it while the timer is unavailable, as a worker does.

    SQLite serves those who wait for its lock in no order, so on a busy machine one of them may wait for seconds.
    """
    while True:
        with suppress(TimerUnavailable):
            return call()


def run_together(jobs: Sequence[Callable[[], None]]) -> None:
    """Run each job in a thread of its own, all at once, and raise the first error."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], None]) -> None:
        try:
            barrier.wait()
            job()
        except BaseException as error:  # noqa: BLE001 - carried over to the caller
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
