"""Queues that an older Lapse made: their deadlines are moved and none is lost, also while the older Lapse runs."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

import pika
import pytest

from lapse import Claim, Deadline, Timer, TimerUnavailable, open_timer
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.testing.conformance import LONG, ago, ahead, keys_of
from lapse.testing.servers import RabbitServer
from lapse.timers.rabbitmq import older
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.channel import Channel
from lapse.timers.rabbitmq.confirms import Publishing
from lapse.timers.rabbitmq.consumer import Consumer
from lapse.timers.rabbitmq.errors import QueueFull
from lapse.timers.rabbitmq.publisher import Publisher
from lapse.timers.rabbitmq.queues import LAYOUT, Names

QUORUM_1 = {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}
"""The arguments of layout 1, as its code had them."""

LEVELS_1 = 6
"""Levels that the older Lapse of these tests declares: together they wait 7.9 s."""

PATIENCE = 90.0
"""Seconds in which everything must have been claimed, on a busy machine."""


class OlderLapse:
    """What a Lapse with layout 1 does on a broker, call for call."""

    def __init__(self, url: str, name: str) -> None:
        self.prefix = f"lapse.{name}."
        self._connection = pika.BlockingConnection(Address.parse(url).parameters)
        self.channel = self._connection.channel()
        self.channel.confirm_delivery()
        for queue in ("memory", "buried", "due"):
            self.channel.queue_declare(self.prefix + queue, durable=True, arguments=QUORUM_1)
        self.channel.basic_publish("", self.prefix + "memory", b"0123456789abcdef0123456789abcdef")
        for number in range(LEVELS_1):
            self._declare_level(number)

    def arm(self, key: str, milliseconds: int) -> None:
        """Arm a deadline that is due in so many milliseconds."""
        ticks = -(-milliseconds // 125)
        exchange = self.prefix + f"level-{ticks.bit_length() - 1}"
        self.channel.basic_publish(exchange, ".".join(reversed(f"{ticks:b}")), self._body(key, milliseconds))

    def publish(self, queue: str, key: str, **fields: object) -> None:
        """Publish the message of a deadline that was due five seconds ago to a queue."""
        self.channel.basic_publish("", self.prefix + queue, self._body(key, -5000, **fields))

    def claim(self) -> list[str]:
        """Claim and settle what is due, and return the keys."""
        keys: list[str] = []
        while True:
            method, _, body = self.channel.basic_get(self.prefix + "due")
            if method is None:
                return keys
            self.channel.basic_ack(method.delivery_tag)
            keys.append(json.loads(body)["key"])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _declare_level(self, number: int) -> None:
        level, below = self.prefix + f"level-{number}", self.prefix + f"level-{number - 1}"
        hop = (
            {"x-dead-letter-exchange": below}
            if number
            else {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.prefix + "due"}
        )
        at_least_once = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        arguments = QUORUM_1 | hop | at_least_once | {"x-message-ttl": 125 << number}
        self.channel.queue_declare(level, durable=True, arguments=arguments)
        self.channel.exchange_declare(level, "topic", durable=True)
        self.channel.queue_bind(level, level, "*." * number + "1.#")
        if number:
            self.channel.exchange_bind(below, level, "*." * number + "0.#")
        else:
            self.channel.queue_bind(self.prefix + "due", level, "0.#")

    @staticmethod
    def _body(key: str, milliseconds: int, **fields: object) -> bytes:
        now = time.time()
        due = int(now * 1000) + milliseconds
        message = {"key": key, "due": due, "at": due, "armed": int(now * 1e6), "token": int(now * 1e6)}
        message |= {"attempts": 0, "reason": "", "buried": 0} | fields
        return json.dumps(message).encode()


@pytest.fixture
def older_lapse(rabbit: RabbitServer, timer_name: str) -> Iterator[OlderLapse]:
    """Let an older Lapse declare the timer's queues."""
    older_lapse = OlderLapse(rabbit.url, timer_name)
    yield older_lapse
    older_lapse.close()


@pytest.fixture
def timer(rabbit: RabbitServer, timer_name: str) -> Iterator[Timer]:
    """Open the same timer with this Lapse."""
    with open_timer(rabbit.url, name=timer_name) as timer:
        yield timer


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the older queues again every half second."""
    monkeypatch.setattr(older, "LOOK_AGAIN", 0.5)


def claim_all(timer: Timer, keys: set[str], more: OlderLapse | None = None) -> dict[str, Claim | None]:
    """Claim and settle until each key was claimed, by this Lapse or by the older one. None is a claim of the older."""
    claimed: dict[str, Claim | None] = {}
    end = SYSTEM_CLOCK.monotonic() + PATIENCE
    while not keys <= set(claimed) and SYSTEM_CLOCK.monotonic() < end:
        with suppress(TimerUnavailable):  # after an injected failure; the deadlines are claimed again
            claims = timer.claim(wait=timedelta(seconds=0.3), lease=LONG)
            claimed |= {claim.key: claim for claim in claims}
            timer.settle(claims)
        if more is not None:
            claimed |= dict.fromkeys(more.claim())
    assert set(claimed) >= keys
    return claimed


def fill(older_lapse: OlderLapse) -> set[str]:
    """Let the older Lapse arm deadlines for now and for up to three seconds later. Return their keys."""
    waits = {f"wait {number:02}": 100 + 150 * number for number in range(20)}
    for key, milliseconds in waits.items():
        older_lapse.arm(key, milliseconds)
    for number in range(5):
        older_lapse.publish("due", f"due {number}", attempts=3)
    return {*waits, *(f"due {number}" for number in range(5))}


def test_c10_deadlines_in_queues_of_an_older_layout_are_moved(older_lapse: OlderLapse, timer: Timer) -> None:
    """Each is claimed once and none early, with its attempts. The buried ones stay buried. Nothing is left behind."""
    keys = fill(older_lapse)
    older_lapse.publish("buried", "buried", attempts=7, reason="boom", buried=1_700_000_000_000)
    assert (timer.stats().pending, timer.stats().buried) == (25, 1)
    claimed = claim_all(timer, keys)
    assert {claim.attempt for key, claim in claimed.items() if claim and key.startswith("due")} == {4}
    assert all(claim and claim.claimed_at >= claim.due_at for claim in claimed.values())
    (buried,) = timer.buried()
    assert (buried.key, buried.attempt, buried.reason) == ("buried", 7, "boom")
    assert timer.stats().pending == 0
    assert older_lapse.claim() == []


def test_an_older_worker_that_still_runs_beside(older_lapse: OlderLapse, timer: Timer) -> None:
    """Both claim, and whichever claims a deadline settles it. Later arms of the older one are moved as well."""
    keys = fill(older_lapse)
    timer.arm([Deadline("new", ahead(timedelta(seconds=1)))])
    claim_all(timer, {*keys, "new"}, older_lapse)
    older_lapse.arm("later", 400)
    older_lapse.publish("due", "released late")
    claim_all(timer, {"later", "released late"})
    assert timer.stats().pending == 0


@pytest.mark.parametrize(
    "line",
    [
        "before publishing",
        pytest.param("after publishing", marks=pytest.mark.long),
        pytest.param("before the acknowledgement", marks=pytest.mark.long),
    ],
)
def test_a_crash_while_deadlines_are_moved_loses_none(
    older_lapse: OlderLapse, timer: Timer, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """The connection is lost at each line in turn: the deadlines are in the older or in the new queue, or in both."""
    keys = fill(older_lapse)
    crashes = iter(range(2))
    publish, acknowledge = Publisher.publish, Consumer.acknowledge

    def crash(where: str) -> None:
        if where == line and next(crashes, None) is not None:
            timer._consumer.get().connection.drop("the process crashed")  # type: ignore[attr-defined]
            raise TimerUnavailable("the process crashed")

    def publish_and_crash(self: Publisher, messages: object) -> None:
        crash("before publishing")
        publish(self, messages)  # type: ignore[arg-type]
        crash("after publishing")

    def crash_and_acknowledge(self: Consumer, tags: list[int]) -> None:
        crash("before the acknowledgement")
        acknowledge(self, tags)

    monkeypatch.setattr(Publisher, "publish", publish_and_crash)
    monkeypatch.setattr(Consumer, "acknowledge", crash_and_acknowledge)
    claim_all(timer, keys)
    assert next(crashes, None) is None


def test_new_queues_that_are_full_leave_deadlines_in_the_older_ones(
    older_lapse: OlderLapse, timer: Timer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The claims of the same process go on, the log says why, and the deadlines are moved once there is room."""
    timer.arm([Deadline("claimed", ago(5))])
    claims = timer.claim(lease=LONG)
    keys = fill(older_lapse)

    def refuse(_self: Publisher, _messages: object) -> None:
        raise QueueFull("the queue is full")

    with monkeypatch.context() as full:
        full.setattr(Publisher, "publish", refuse)
        with caplog.at_level(logging.WARNING):
            SYSTEM_CLOCK.sleep(0.6)
            assert timer.claim() == []
    assert "stay there for now: the queue is full" in caplog.text
    assert timer.settle(claims) == 1
    claim_all(timer, keys)


def test_c10_new_queues_that_take_a_part_get_each_deadline_once(
    older_lapse: OlderLapse, timer: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full queue took the first messages of a batch again and again, the others never, and all gained attempts."""
    for number in range(12):
        older_lapse.publish("due", f"{number:02}")
    publish = Channel.publish
    room = iter([3] * 4)

    def take_a_part(self: Channel, publishings: Sequence[Publishing]) -> None:
        taken = publishings[: next(room, None)]
        publish(self, taken)
        if len(taken) < len(publishings):
            raise QueueFull("the queue is full", [publishing.body for publishing in taken])

    monkeypatch.setattr(Channel, "publish", take_a_part)
    claims = list(claim_all(timer, {f"{number:02}" for number in range(12)}).values())
    assert next(room, None) is None
    assert {claim.attempt for claim in claims if claim} == {1}
    assert timer.stats().pending == 0


def test_the_check_says_what_other_layouts_are_there(older_lapse: OlderLapse, timer: Timer) -> None:
    """Older queues with deadlines, then empty ones with the command that deletes them, then newer ones as BAD."""
    older_lapse.publish("due", "1")
    assert any("layout 1" in finding.text and "still hold deadlines: 1" in finding.text for finding in timer.check())
    assert keys_of(timer.claim()) == ["1"]
    (empty,) = (finding.text for finding in timer.check() if "layout 1" in finding.text)
    names = [f"{older_lapse.prefix}{part}" for part in ("memory", "due", "buried", "level-0")]
    assert all(f" {name} " in empty for name in names)
    assert "rabbitmqctl -p / delete_queue" in empty
    older_lapse.channel.queue_declare(Names(timer.name, LAYOUT + 1).due, durable=True, arguments=QUORUM_1)
    (newer,) = (finding.text for finding in timer.check() if not finding.fit)
    assert "newer Lapse" in newer
