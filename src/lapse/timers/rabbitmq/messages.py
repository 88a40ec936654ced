"""What a message of the timer says, and when it was handed out before: one deadline, as JSON."""

import json
from dataclasses import asdict, dataclass, replace

from lapse.engine.deadline import check_key
from lapse.engine.errors import InvalidDeadline


@dataclass(frozen=True, slots=True)
class Note:
    """One copy of a deadline. Times are in milliseconds since 1970, in UTC.

    `due` is what was armed, `at` from when it may be handed out: later than that after a release with a delay.
    `attempts` and `token` are those of the last time that it was handed out by whoever wrote the message; the broker
    counts on top of them (x-delivery-count) how often it was handed out without an answer. `armed` is when it was
    armed, in microseconds, and tells apart the copies of one key. The last two are those of a buried one.
    """

    key: str
    due: int
    at: int
    armed: int
    token: int
    attempts: int = 0
    reason: str = ""
    buried: int = 0

    def unanswered(self, times: int) -> "Note":
        """Add what the broker counted."""
        return replace(self, attempts=self.attempts + times, token=self.token + times)

    def encode(self) -> bytes:
        """Write it as a message's body."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Copy:
    """One message: the delivery's tag, what it says, and how often the broker has handed it out before in vain."""

    tag: int
    note: Note
    times: int

    @property
    def counted(self) -> Note:
        """The note with what the broker has counted."""
        return self.note.unanswered(self.times)


def decode(body: bytes) -> Note:
    """Read a message's body. Raises ValueError for what this package did not write."""
    try:
        note = Note(**json.loads(body))
        check_key(note.key)
        numbers = (note.due, note.at, note.armed, note.token, note.attempts, note.buried)
    except (TypeError, InvalidDeadline) as error:
        raise ValueError(f"not a deadline: {error}") from error
    if not all(type(number) is int for number in numbers) or not isinstance(note.reason, str):
        raise ValueError("not a deadline: its times and counts must be whole numbers")
    return note
