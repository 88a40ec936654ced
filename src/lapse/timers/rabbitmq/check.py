"""What `lapse check` finds out about a RabbitMQ."""

from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import Finding
from lapse.timers.rabbitmq.address import ANSWER_WITHIN
from lapse.timers.rabbitmq.channel import Arrived, Line, Post
from lapse.timers.rabbitmq.connection import Link

CLOCKS_AGREE = timedelta(seconds=2)
"""How far two clocks may be apart. The broker says the time in whole seconds, so one of these is not known."""


def findings(link: Link) -> list[Finding]:
    """Look at version, alarms and clock."""
    version = link.connection.server_properties.get("version", "of an unknown version")
    found = [
        Finding(fit=True, text=f"RabbitMQ {version}; quorum queues keep every deadline on disk, confirmed"),
        Finding(
            fit=True,
            text="what waits cannot be found again: disarmed, it fires for nothing; moved, at each of its times",
        ),
    ]
    try:
        here, there = SYSTEM_CLOCK.now(), _time_at(link)
    except TimerUnavailable:
        if not link.blocked:
            raise
        text = f"an alarm is on ({link.blocked}): nothing can be armed. Give the broker more memory or disk"
        return [*found, Finding(fit=False, text=text)]
    return [*found, Finding(fit=True, text="no alarm: messages are taken"), _compared(here, there)]


def _compared(here: datetime, there: datetime) -> Finding:
    apart = here - there
    if abs(apart) <= CLOCKS_AGREE:
        return Finding(fit=True, text="its clock agrees with this machine's, to about a second")
    return Finding(
        fit=False,
        text=f"this machine's clock is {abs(apart).total_seconds():.0f} s {'ahead of' if here > there else 'behind'} "
        "the broker's: let all machines set theirs by NTP, or deadlines come early or late by as much",
    )


def _time_at(link: Link) -> datetime:
    """Ask the broker for its time, in whole seconds: it writes it on a message that has expired."""
    heard: SimpleQueue[Arrived] = SimpleQueue()
    reply, expiring = f"lapse.clock.{id(heard)}", f"lapse.clock.{id(heard)}.expiring"
    onward = {"x-message-ttl": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": reply}
    with Line(link, confirming=True) as line:
        line.declare_queue(reply, {}, exclusive=True)
        line.declare_queue(expiring, onward, exclusive=True)
        try:
            line.consume(reply, 1, heard.put)
            line.publish([Post("", expiring, b"")])
            arrived = heard.get(timeout=ANSWER_WITHIN)
        except Empty as error:
            raise TimerUnavailable(f"RabbitMQ at {link.where} did not pass on a message that had expired") from error
        finally:
            if not link.lost:
                line.delete_queue(reply)
                line.delete_queue(expiring)
        when = arrived.headers["x-death"][0]["time"]
        if not isinstance(when, datetime):
            raise TimerUnavailable(f"RabbitMQ at {link.where} did not say the time")
        return when
