"""The checks of `lapse check` on a RabbitMQ broker: version, queues of other layouts, policies, alarms, clock."""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import Finding
from lapse.timers.rabbitmq.address import ANSWER_WITHIN, Address
from lapse.timers.rabbitmq.channel import Channel, Delivery
from lapse.timers.rabbitmq.confirms import Publishing
from lapse.timers.rabbitmq.connection import Connection
from lapse.timers.rabbitmq.older import older_layouts
from lapse.timers.rabbitmq.policies import policy_findings
from lapse.timers.rabbitmq.queues import CLASSIC, Counts, Names, exists

CLOCKS_AGREE = timedelta(seconds=2)
"""Clocks that differ by no more than this agree. The broker's time has whole seconds, so a second is uncertain."""


def findings(connection: Connection, address: Address, names: Names) -> list[Finding]:
    """Return findings on the broker's version, queues, policies, alarms and clock."""
    version = connection.pika.server_properties.get("version", "of an unknown version")
    found = [
        Finding(fit=True, text=f"RabbitMQ {version}; quorum queues keep every deadline on disk, confirmed"),
        Finding(
            fit=True,
            text="a waiting message cannot be taken back: a disarmed deadline fires without effect, a moved one at "
            "each of its times",
        ),
        *_other_layouts(connection, address, names),
        *policy_findings(address, names),
    ]
    try:
        here, there = SYSTEM_CLOCK.now(), _broker_time(connection)
    except TimerUnavailable:
        if not connection.blocked:
            raise
        text = f"an alarm is on ({connection.blocked}): nothing can be armed. Give the broker more memory or disk"
        return [*found, Finding(fit=False, text=text)]
    return [*found, Finding(fit=True, text="no alarm: the broker accepts messages"), _compared(here, there)]


def _other_layouts(connection: Connection, address: Address, names: Names) -> Iterator[Finding]:
    for older in older_layouts(connection, names):
        layout = f"queues of layout {older.names.layout}, which an older Lapse made,"
        if older.total:
            text = (
                f"{layout} still hold deadlines: {older.total}; a worker of this Lapse moves them into its own queues"
            )
        else:
            text = (
                f"{layout} are empty: once no process runs the older Lapse, delete them ({_deletion(address, older)})"
            )
        yield Finding(fit=True, text=text)
    newer = replace(names, layout=names.layout + 1)
    if exists(connection, newer.due):
        text = (
            f"{newer.due} belongs to a newer Lapse: this one does not claim its deadlines, because its own queues are "
            f"of layout {names.layout}. Run the newer Lapse, at least until those queues are empty"
        )
        yield Finding(fit=False, text=text)


def _deletion(address: Address, older: Counts) -> str:
    """Return the shell command that deletes the queues of an older layout."""
    control = f"rabbitmqctl -p {shlex.quote(address.parameters.virtual_host)}"
    queues = " ".join([older.names.generation, *older.by_queue])
    return f"for queue in {queues}; do {control} delete_queue $queue; done"


def _compared(here: datetime, there: datetime) -> Finding:
    apart = here - there
    if abs(apart) <= CLOCKS_AGREE:
        return Finding(fit=True, text="the broker's clock agrees with this machine's clock, to about a second")
    return Finding(
        fit=False,
        text=f"this machine's clock is {abs(apart).total_seconds():.0f} s {'ahead of' if here > there else 'behind'} "
        "the broker's: synchronise all machines by NTP, or deadlines fire early or late by as much",
    )


def _broker_time(connection: Connection) -> datetime:
    """Return the broker's time, in whole seconds: the broker writes it on a message that has expired."""
    received: SimpleQueue[Delivery] = SimpleQueue()
    reply, expiring = f"lapse.clock.{id(received)}", f"lapse.clock.{id(received)}.expiring"
    dead_letter = {"x-message-ttl": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": reply}
    with Channel(connection, confirming=True) as channel:
        channel.declare_queue(reply, CLASSIC, exclusive=True)
        channel.declare_queue(expiring, CLASSIC | dead_letter, exclusive=True)
        try:
            channel.consume(reply, 1, received.put)
            channel.publish([Publishing("", expiring, b"")])
            delivery = received.get(timeout=ANSWER_WITHIN)
        except Empty as error:
            where = connection.where
            raise TimerUnavailable(f"RabbitMQ at {where} did not dead-letter a message that had expired") from error
        finally:
            if not connection.lost:
                channel.delete_queue(reply)
                channel.delete_queue(expiring)
        time = delivery.headers["x-death"][0]["time"]
        if not isinstance(time, datetime):
            raise TimerUnavailable(f"RabbitMQ at {connection.where} did not state the time of an expired message")
        return time
