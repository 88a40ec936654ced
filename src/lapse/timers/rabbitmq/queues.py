"""The queues of one timer, and the way of a message to its time.

A message that has to wait is put into the queue of the highest bit of its delay, counted in ticks of 125 ms. Each of
these levels lets all its messages wait equally long, so the first that came is the first to leave and none holds up
another. When its time there is over the broker passes it on to the queue of the next bit that is set, by the routing
key, which spells the bits, the lowest first. From the last it comes to the queue of what is due.
"""

from dataclasses import dataclass
from typing import Any

TICK = 125
"""Milliseconds of the lowest level. A delay is rounded up to whole ticks."""

LEVELS = 26
"""The highest waits 48.5 days, near the longest that a broker takes (2³² ms); all together 97 days."""

QUORUM: dict[str, Any] = {
    "x-queue-type": "quorum",
    # How often a message came back without an answer is for the worker to judge. Some brokers drop it at 20.
    "x-delivery-limit": 2**31 - 1,
}


@dataclass(frozen=True, slots=True)
class Names:
    """What the timer's queues and exchanges are called. No name of one timer can be one of another's."""

    timer: str

    @property
    def due(self) -> str:
        """The queue of what is due."""
        return f"lapse.{self.timer}.due"

    @property
    def buried(self) -> str:
        """The queue of what was given up on."""
        return f"lapse.{self.timer}.buried"

    @property
    def memory(self) -> str:
        """The queue whose one message names the broker's memory."""
        return f"lapse.{self.timer}.memory"

    @property
    def lock(self) -> str:
        """The exclusive queue that only one connection can have at a time."""
        return f"lapse.{self.timer}.lock"

    def level(self, number: int) -> str:
        """The queue in which messages wait for 2 to the power of `number` ticks, and the exchange before it."""
        return f"lapse.{self.timer}.level-{number}"

    def seal(self, one: str) -> str:
        """The queue that lasts for a moment, see `seal`."""
        return f"lapse.{self.timer}.seal-{one}"

    def restored(self, number: int) -> str:
        """The exchange that exists since the deadlines were armed again for the so many-th time."""
        return f"lapse.{self.timer}.restored-{number}"

    def waiting(self, number: int) -> dict[str, Any]:
        """The arguments of a level's queue: nothing is lost on the way out of it, whatever the next one does."""
        onward = (
            {"x-dead-letter-exchange": self.level(number - 1)}
            if number
            else {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.due}
        )
        return (
            QUORUM
            | onward
            | {
                "x-message-ttl": TICK << number,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",  # which that strategy demands
            }
        )


def levels_for(delay: int) -> int:
    """How many levels there must be for a delay in milliseconds: 0 for one that is over."""
    return ticks(delay).bit_length()


def ticks(delay: int) -> int:
    """Round up to ticks, and down to what all levels together can wait: then it comes too early, and waits again."""
    return min(-(-max(delay, 0) // TICK), (1 << LEVELS) - 1)


def spelled(count: int) -> str:
    """The routing key: the bits, lowest first."""
    return ".".join(reversed(f"{count:b}"))


def pattern(level: int, bit: int) -> str:
    """What keys with this bit at this level match."""
    return "*." * level + f"{bit}.#"
