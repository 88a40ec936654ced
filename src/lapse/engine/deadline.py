"""A deadline, and the claim on one that is due."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lapse.engine.errors import InvalidDeadline

MAX_KEY_BYTES = 512
"""The largest size of a key in UTF-8, in bytes. It limits the size of a batch that is sent to a server."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
"""The first and the last millisecond that a datetime can represent in UTC. Shops write such years for "never"."""

_FIRST, _LAST = ((moment - EPOCH) // MILLISECOND for moment in (EARLIEST, LATEST))


@dataclass(frozen=True, slots=True)
class Deadline:
    """A time at which an order is due. The timer's name says which kind of deadline it is.

    `key` names the order: 1 to 512 bytes of UTF-8, without NUL. `due_at` is an aware datetime, in any zone.

    Raises InvalidDeadline for a key or a time that any one of the timers could not store. So every deadline still works
    after a change of mechanism.
    """

    key: str
    due_at: datetime

    def __post_init__(self) -> None:
        check_key(self.key)
        if not isinstance(self.due_at, datetime) or self.due_at.tzinfo is None:
            raise InvalidDeadline(
                f"due_at of {self.key!r} must be an aware datetime, such as datetime.now(UTC); got {self.due_at!r}"
            )
        if not EARLIEST <= self.due_at <= LATEST:
            raise InvalidDeadline(
                f"due_at of {self.key!r} must be between the years 1 and 9999 in UTC; got {self.due_at!r}. An order "
                "that never lapses needs no deadline"
            )


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on one due deadline.

    `due_at` is the time that was armed, in UTC, to the millisecond. `attempt` says how often this deadline was handed
    out, counted from 1. `token` rises with every claim of the timer. The holder of a smaller token is late, so a
    handler can use the token as a fence in its own update. `leased_until` and `claimed_at` are by the timer's clock.
    """

    key: str
    due_at: datetime
    attempt: int
    token: int
    claimed_at: datetime
    leased_until: datetime

    @property
    def late_by(self) -> timedelta:
        """How long after its time the deadline was handed out, by the timer's clock."""
        return self.claimed_at - self.due_at


@dataclass(frozen=True, slots=True)
class Buried:
    """A deadline that workers no longer try, until it is revived or armed again."""

    key: str
    due_at: datetime
    attempt: int
    reason: str
    buried_at: datetime


def check_key(key: str) -> str:
    """Return the key. Raises InvalidDeadline if any one of the timers could not store it."""
    if not isinstance(key, str) or not key:
        raise InvalidDeadline(f"a key is a string that is not empty; got {key!r}")
    if "\0" in key:
        raise InvalidDeadline(f"a key must not contain NUL; got {key!r}")
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidDeadline(f"a key must be valid Unicode; got {key!r}") from error
    if size > MAX_KEY_BYTES:
        raise InvalidDeadline(f"a key has at most {MAX_KEY_BYTES} bytes; {key[:40]!r}… has {size}")
    return key


def to_milliseconds(moment: datetime) -> int:
    """Return the milliseconds since 1970 in UTC, rounded up: rounding down would fire early."""
    return -((EPOCH - moment) // MILLISECOND)


def from_milliseconds(milliseconds: int) -> datetime:
    """Return the datetime in UTC for milliseconds since 1970.

    A time that no datetime can represent becomes `EARLIEST` or `LATEST`: a key in Redis can expire in 54,000 years.
    """
    return EPOCH + min(max(milliseconds, _FIRST), _LAST) * MILLISECOND
