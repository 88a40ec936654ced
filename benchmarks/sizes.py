"""How much work each measurement does: the full form, and the short one that the tests run."""

from dataclasses import dataclass
from datetime import timedelta

from lapse.engine.timer import LEASE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Counts of orders, and seconds."""

    pending: tuple[int, ...]
    """Among how many orders of a far future lateness is measured, ascending."""
    due: int
    """How many fall due one after the other."""
    per_second: int
    burst: int
    """How many fall due at one instant, at most."""
    bursts: int
    """How often that is done; the median counts."""
    one_by_one: int
    """How many are armed by a call each, at most."""
    arm_within: float
    """Seconds for which a burst, or those one by one, may be armed. What is slower than that gets fewer."""
    crash: int
    """How many orders a crash meets."""
    lease: timedelta
    """For how long a worker holds what it claimed, in the crashes."""
    lead: float
    """Seconds between arming and the first deadline, in which the worker starts."""
    patience: float
    """Seconds after its deadline in which an order must have fired, or it counts as lost."""
    naive_patience: float
    """The same for the naive way, for which nothing comes that did not come soon."""
    at_once: int
    """How many mechanisms are measured side by side: more than one distorts every figure but those of crashes."""
    crashes_at_once: int
    """The same for the crashes, whose figures are seconds: most of them is waiting for a lease to end."""


FULL = Sizes(
    pending=(10_000, 100_000),
    due=1_000,
    per_second=200,
    burst=50_000,
    bursts=3,
    one_by_one=1_000,
    arm_within=3.0,
    crash=10_000,
    lease=LEASE,
    lead=2.0,
    patience=60.0,
    naive_patience=20.0,
    at_once=1,
    crashes_at_once=4,
)

QUICK = Sizes(
    pending=(1_000,),
    due=100,
    per_second=100,
    burst=2_000,
    bursts=1,
    one_by_one=50,
    arm_within=1.0,
    crash=500,
    lease=timedelta(seconds=1),
    lead=1.0,
    patience=60.0,
    naive_patience=3.0,
    at_once=4,
    crashes_at_once=4,
)
