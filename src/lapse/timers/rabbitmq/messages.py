"""The timer's messages: the body, which is one deadline as JSON, and a received message."""

import json
from dataclasses import asdict, dataclass, replace

from lapse.engine.deadline import check_key
from lapse.engine.errors import InvalidDeadline


@dataclass(frozen=True, slots=True)
class Message:
    """One copy of a deadline. Times are in milliseconds since 1970, in UTC.

    `due` is the armed deadline. `at` is the earliest time of a claim, which is later than `due` after a release with a
    delay. `attempts` and `token` are those of the last claim before the message was written. The broker counts later
    deliveries without an acknowledgement (x-delivery-count); that count is added to both. `armed` is the time of arming
    in microseconds; it orders the copies of one key. A buried message has `reason` and `buried`, the time of burial.
    """

    key: str
    due: int
    at: int
    armed: int
    token: int
    attempts: int = 0
    reason: str = ""
    buried: int = 0

    def encode(self) -> bytes:
        """Return the message's body."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Received:
    """A delivery: its tag, its message, and the number of earlier deliveries without an acknowledgement."""

    tag: int
    message: Message
    redeliveries: int

    @property
    def counted(self) -> Message:
        """The message with the broker's count added to its attempts and its token."""
        message, count = self.message, self.redeliveries
        return replace(message, attempts=message.attempts + count, token=message.token + count)


def decode(body: bytes) -> Message:
    """Return the message with this body. Raises ValueError for a body that Lapse did not write."""
    try:
        message = Message(**json.loads(body))
        check_key(message.key)
        numbers = (message.due, message.at, message.armed, message.token, message.attempts, message.buried)
    except (TypeError, InvalidDeadline) as error:
        raise ValueError(f"not a deadline: {error}") from error
    if not all(type(number) is int for number in numbers) or not isinstance(message.reason, str):
        raise ValueError("not a deadline: its times and counts must be whole numbers")
    return message
