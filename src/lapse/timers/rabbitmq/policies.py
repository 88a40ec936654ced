"""What policies do to a timer's queues. A policy can overrule the arguments with which a client declared a queue."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from lapse.engine.timer import Finding
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.management import NotChecked, QueuePolicy, read_policies
from lapse.timers.rabbitmq.queues import QUORUM, Names

SHORTEST_CONSUMER_TIMEOUT = 60_000
"""Milliseconds. A broker that waits less for an acknowledgement takes claims back while their handlers work."""

HARMFUL: dict[str, tuple[Callable[[Any], bool], str]] = {
    "expires": (
        lambda _: True,
        "deletes a queue that no consumer has used for {value} ms, with the deadlines in it",
    ),
    "message-ttl": (
        lambda _: True,
        "drops due and buried deadlines after {value} ms, and cuts longer waits",
    ),
    "overflow": (
        lambda value: value != QUORUM["x-overflow"],
        "makes a full queue drop accepted deadlines, and a broker that crashes lose those that pass between two queues",
    ),
    "delivery-limit": (
        # A negative number means that there is no limit.
        lambda value: not isinstance(value, int) or 0 <= value < QUORUM["x-delivery-limit"],
        "drops a deadline after {value} deliveries, where workers died or released it",
    ),
    "dead-letter-routing-key": (
        lambda _: True,
        "overwrites the key that leads a waiting deadline on to its next queue, so it never becomes due",
    ),
    "consumer-timeout": (
        lambda value: not isinstance(value, int) or value < SHORTEST_CONSUMER_TIMEOUT,
        "takes claims back after {value} ms, while their handlers still work",
    ),
}
"""Key of a policy's definition → whether a value harms a timer's queues, and what it does to them.

Other keys change nothing. A queue's own dead-letter exchange and strategy go before those of a policy. Modes of
classic queues (`queue-mode`, `ha-mode`) do not apply to quorum queues.
"""


def policy_findings(address: Address, names: Names) -> list[Finding]:
    """Return findings about the policies that apply to the timer's queues, or one finding that says "not checked"."""
    try:
        applied = read_policies(address, names.timer, names.queues)
    except NotChecked as error:
        return [Finding(fit=True, checked=False, text=f"whether policies make the broker lose deadlines; {error}")]
    found = [*_harm(applied), *_limits(applied)]
    text = f"no policy makes the broker lose deadlines, by the management API at {address.management}"
    return found if any(not finding.fit for finding in found) else [Finding(fit=True, text=text), *found]


def _harm(applied: list[QueuePolicy]) -> Iterator[Finding]:
    queues = defaultdict(list)
    for entry in applied:
        for key, (harms, _) in HARMFUL.items():
            value = entry.definition.get(key)
            if value is not None and harms(value):
                queues[key, repr(value), entry.policies].append(entry.queue)
    for (key, value, policies), affected in queues.items():
        effect = HARMFUL[key][1].format(value=value)
        yield Finding(
            fit=False,
            text=f"policy {policies} has {key}={value} for {_shortened(affected)}: it {effect}. Take {key} out of the "
            r"policy, or the timer's queues out of its pattern: '^(?!lapse\.)…'",
        )


def _limits(applied: list[QueuePolicy]) -> Iterator[Finding]:
    """Yield what a limit of length does: arming is refused beyond it, and no accepted deadline is dropped."""
    queues = defaultdict(list)
    full = [
        entry.queue
        for entry in applied
        if any(size >= entry.definition.get(key, float("inf")) for key, size in entry.sizes.items())
    ]
    for entry in applied:
        limits = ", ".join(f"{key}={entry.definition[key]}" for key in entry.sizes if key in entry.definition)
        if limits:
            queues[limits, entry.policies].append(entry.queue)
    for (limits, policies), affected in queues.items():
        state = f"; {_shortened(full)} is full now: let workers empty the queue, or raise the limit" if full else ""
        yield Finding(
            fit=not full,
            text=f"policy {policies} has {limits} for {_shortened(affected)}: a deadline beyond that is refused when "
            f"it is armed, and a due one may be some minutes late; no accepted deadline is dropped{state}",
        )


def _shortened(queues: list[str]) -> str:
    """Return the first queue's name, and how many more there are."""
    more = len(queues) - 1
    return queues[0] + (f" and {more} more {'queue' if more == 1 else 'queues'}" if more else "")
