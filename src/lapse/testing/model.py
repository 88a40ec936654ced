"""A stateful model of a timer, for hypothesis: after any calls in any order, each deadline has the right state.

`timer_machine(open_fresh)` returns a state machine class; run it with `run_state_machine_as_test`. Time plays no part:
each deadline is long past or far ahead, and each lease is long, so the model is exact for every mechanism.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lapse.engine.deadline import Claim, Deadline
from lapse.engine.timer import FRESH_SHARE, Timer

PAST = datetime(2001, 1, 1, tzinfo=UTC)
FUTURE = datetime(2201, 1, 1, tzinfo=UTC)
LONG = timedelta(hours=1)
KEYS = st.sampled_from([f"k{number}" for number in range(12)])
WHEN = st.one_of(
    st.integers(0, 50).map(lambda seconds: PAST + timedelta(seconds=seconds)),
    st.integers(0, 50).map(lambda seconds: FUTURE + timedelta(seconds=seconds)),
)


@dataclass
class Expected:
    """What the model expects of one key: `state` is pending, claimed or buried; `visible` is when it can be claimed."""

    due_at: datetime
    state: str = "pending"
    visible: datetime = field(default=PAST)
    attempt: int = 0
    token: int = 0


def timer_machine(open_fresh: Callable[[], Timer]) -> type[RuleBasedStateMachine]:
    """Return the state machine class; each call of `open_fresh` opens a timer on an empty store."""

    class TimerMachine(RuleBasedStateMachine):
        """Calls every method in any order and compares the timer with a dictionary."""

        def __init__(self) -> None:
            super().__init__()
            self.timer = open_fresh()
            self.expected: dict[str, Expected] = {}
            self.claims: list[Claim] = []  # every claim so far, stale claims too
            self.highest_token = 0

        def teardown(self) -> None:
            self.timer.close()

        @rule(items=st.lists(st.tuples(KEYS, WHEN), max_size=6), only_unknown=st.booleans())
        def arm(self, items: list[tuple[str, datetime]], *, only_unknown: bool) -> None:
            """Arm a few keys."""
            self.timer.arm([Deadline(key, due_at) for key, due_at in items], only_unknown=only_unknown)
            known = set(self.expected) if only_unknown else set()
            for key, due_at in items:
                if key not in known:
                    self.expected[key] = Expected(due_at, visible=due_at)

        @rule(keys=st.lists(KEYS, max_size=4))
        def disarm(self, keys: list[str]) -> None:
            """Disarm a few keys."""
            self.timer.disarm(keys)
            for key in keys:
                self.expected.pop(key, None)

        @rule(limit=st.integers(1, 8))
        def claim(self, limit: int) -> None:
            """Claim, and compare each claim."""
            due = sorted(
                (item.visible, key)
                for key, item in self.expected.items()
                if item.state == "pending" and item.visible < FUTURE
            )
            claims = self.timer.claim(limit, lease=LONG)
            assert len(claims) == min(limit, len(due))
            old = len(claims) - (limit // FRESH_SHARE if len(due) > limit else 0)
            oldest = [visible for visible, _ in due[:old]]
            assert [self.expected[claim.key].visible for claim in claims[:old]] == oldest
            for claim in claims:
                item = self.expected[claim.key]
                assert item.state == "pending"
                assert item.visible < FUTURE
                item.state, item.attempt, item.token = "claimed", item.attempt + 1, claim.token
                assert (claim.due_at, claim.attempt) == (item.due_at, item.attempt)
                assert claim.token > self.highest_token
            if claims:
                self.highest_token = max(claim.token for claim in claims)
            self.claims += claims

        def _held(self, claims: list[Claim]) -> list[Claim]:
            return [
                claim
                for claim in claims
                if claim.key in self.expected
                and self.expected[claim.key].state == "claimed"
                and self.expected[claim.key].token == claim.token
            ]

        def _draw_claims(self, data: st.DataObject) -> list[Claim]:
            if not self.claims:
                return []
            return data.draw(st.lists(st.sampled_from(self.claims), max_size=4, unique_by=lambda claim: claim.key))

        @rule(data=st.data())
        def settle(self, data: st.DataObject) -> None:
            """Settle a few claims, stale or not."""
            claims = self._draw_claims(data)
            held = self._held(claims)
            assert self.timer.settle(claims) == len(held)
            for claim in held:
                del self.expected[claim.key]

        @rule(data=st.data(), later=st.booleans(), forgive=st.booleans())
        def release(self, data: st.DataObject, *, later: bool, forgive: bool) -> None:
            """Release a few claims, stale or not."""
            claims = self._draw_claims(data)
            held = self._held(claims)
            delay = timedelta(days=365 * 180) if later else timedelta(0)
            assert self.timer.release(claims, delay=delay, forgive=forgive) == len(held)
            for claim in held:
                item = self.expected[claim.key]
                item.state, item.attempt = "pending", item.attempt - forgive
                item.visible = FUTURE if later else item.due_at

        @rule(data=st.data())
        def renew(self, data: st.DataObject) -> None:
            """Renew a few claims, stale or not."""
            claims = self._draw_claims(data)
            held = {claim.key for claim in self._held(claims)}
            assert {claim.key for claim in self.timer.renew(claims, lease=LONG)} == held

        @rule(data=st.data())
        def bury(self, data: st.DataObject) -> None:
            """Bury a few claims, stale or not."""
            claims = self._draw_claims(data)
            held = self._held(claims)
            assert self.timer.bury(claims, reason="model") == len(held)
            for claim in held:
                self.expected[claim.key].state = "buried"

        @rule(keys=st.lists(KEYS, max_size=4, unique=True))
        def revive(self, keys: list[str]) -> None:
            """Revive a few keys, buried or not."""
            buried = [key for key in keys if key in self.expected and self.expected[key].state == "buried"]
            assert self.timer.revive(keys) == len(buried)
            for key in buried:
                due_at = self.expected[key].due_at
                self.expected[key] = Expected(due_at, visible=due_at)

        @invariant()
        def counts_agree(self) -> None:
            """The timer's own counts are the model's."""
            stats = self.timer.stats()
            states = [item.state for item in self.expected.values()]
            due = [item for item in self.expected.values() if item.state == "pending" and item.visible < FUTURE]
            assert stats.pending == states.count("pending")
            assert stats.claimed == states.count("claimed")
            assert stats.buried == states.count("buried")
            assert stats.due == len(due)
            assert stats.oldest_due == min((item.visible for item in due), default=None)
            buried = {key for key, item in self.expected.items() if item.state == "buried"}
            assert {entry.key for entry in self.timer.buried()} == buried

    return TimerMachine
