"""Lets a claim wait until a deadline is due, in the same way for every timer."""

from collections.abc import Callable

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.deadline import Claim
from lapse.engine.waker import Waker

LOOK_AGAIN = 1.0
"""Seconds after which a waiting claim looks again without a wake-up: a wake-up may be lost."""


def claim_when_due(
    take: Callable[[], tuple[list[Claim], float | None]],
    waker: Waker,
    seconds: float,
    clock: Clock = SYSTEM_CLOCK,
) -> list[Claim]:
    """Call `take` until it returns claims, `seconds` have passed, or the waker is interrupted. Return the claims.

    `take` returns claims and the number of seconds until the next deadline is due (None: no deadline is armed). The
    wait lasts exactly that long by the monotonic clock.
    """
    end = clock.monotonic() + seconds
    while True:
        claims, due_in = take()
        left = end - clock.monotonic()
        if claims or left <= 0:
            return claims
        pause = min(left, LOOK_AGAIN, LOOK_AGAIN if due_in is None else due_in)
        if clock.wait(waker, pause):
            return []  # an interrupt means: take no more work
