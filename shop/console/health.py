"""Is anything late, and is a worker alive? What an operator must see at a glance."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils.translation import gettext, ngettext

from lapse import Stats
from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.outbox.history import backlogs
from shop import database
from shop.console.models import WorkerHeartbeat
from shop.console.money import Waiting, waiting
from shop.console.timer_query import NoTimer, TimerNotAnswering, mechanism, query

SILENT_AFTER = timedelta(seconds=15)
"""A worker without a heartbeat for so long counts as dead."""

LOOK_BACK = timedelta(hours=1)
"""The period over which the lateness is computed."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """How long after their deadline orders expired in the last hour, in milliseconds (None: no order expired)."""

    count: int
    p50: float | None
    p99: float | None
    maximum: float | None


@dataclass(frozen=True, slots=True)
class Late:
    """The orders that should have lapsed: how many, how many of these wait for a gateway, and the first deadline."""

    count: int
    closing: int
    earliest: datetime | None


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's last heartbeat, and whether it is recent enough."""

    heartbeat: WorkerHeartbeat
    alive: bool
    silent_for: timedelta


@dataclass(slots=True)
class Health:
    """The health at one moment of the database's clock.

    `undelivered` counts the messages of the outbox that were tried for the last time. `stats` is None if there is no
    timer, or if it does not answer: then `timer_error` says why.
    """

    now: datetime
    late: Late
    lateness: Lateness
    workers: list[Worker]
    money: Waiting
    undelivered: int
    mechanism: str
    stats: Stats | None = None
    timer_error: str = ""
    alarms: list[str] = field(default_factory=list)

    @property
    def alive(self) -> int:
        """The number of workers that are alive."""
        return sum(worker.alive for worker in self.workers)


def health() -> Health:
    """Return the health with an alarm for everything that is wrong. A timer that does not answer is one of these."""
    now, grace = database.database_now(), unpaid_orders().grace
    found = Health(
        now=now,
        late=_late(),
        lateness=Lateness(*database.rows("console/lateness", {"within": LOOK_BACK, "grace": grace})[0]),
        workers=[
            Worker(heartbeat, now - heartbeat.seen_at < SILENT_AFTER, max(timedelta(0), now - heartbeat.seen_at))
            for heartbeat in WorkerHeartbeat.objects.all()
        ],
        money=waiting(),
        undelivered=sum(backlog.buried for backlog in backlogs()),
        mechanism=mechanism(),
    )
    try:
        found.stats = query(lambda timer: timer.stats())
    except TimerNotAnswering as error:
        found.timer_error = str(error)
    except NoTimer:
        found.mechanism = "none"
    found.alarms = _alarms(found)
    return found


def _late() -> Late:
    after = unpaid_orders().grace + settings.CONSOLE_LATE_AFTER
    count, closing, earliest = database.rows("console/late", {"after": after})[0]
    return Late(count, closing, earliest)


def _alarms(found: Health) -> list[str]:
    """Return a sentence for each thing that an operator must look at."""
    alarms = []
    if found.late.count:
        alarms.append(_late_alarm(found.late))
    if found.money.decisions:
        text = ngettext(
            "%(count)s payment needs a decision: its money is not where it belongs.",
            "%(count)s payments need a decision: their money is not where it belongs.",
            found.money.decisions,
        )
        alarms.append(text % {"count": found.money.decisions})
    if found.money.stuck:
        text = ngettext(
            "%(count)s refund is due and has not been carried out for some minutes.",
            "%(count)s refunds are due and have not been carried out for some minutes.",
            found.money.stuck,
        )
        alarms.append(text % {"count": found.money.stuck})
    if not found.alive:
        seconds: dict[str, Any] = {"seconds": round(SILENT_AFTER.total_seconds())}
        alarms.append(
            gettext("No worker has reported for %(seconds)s seconds. Start manage.py lapse_worker.") % seconds
        )
    if found.timer_error:
        alarms.append(gettext("The timer does not answer. The workers' sweep still cancels overdue orders."))
    if found.stats is not None and found.stats.buried:
        text = ngettext(
            "%(count)s deadline is buried: every attempt to cancel its order failed.",
            "%(count)s deadlines are buried: every attempt to cancel their orders failed.",
            found.stats.buried,
        )
        alarms.append(text % {"count": found.stats.buried})
    if found.undelivered:
        text = ngettext(
            "%(count)s message could not be delivered. It holds back the later ones about its order.",
            "%(count)s messages could not be delivered. They hold back the later ones about their orders.",
            found.undelivered,
        )
        alarms.append(text % {"count": found.undelivered})
    return alarms


def _late_alarm(late: Late) -> str:
    text = ngettext(
        "%(count)s order is overdue and not cancelled. Its deadline was %(at)s UTC.",
        "%(count)s orders are overdue and not cancelled. The earliest deadline was %(at)s UTC.",
        late.count,
    ) % {"count": late.count, "at": f"{late.earliest:%H:%M:%S}"}
    if late.closing:
        waiting = ngettext(
            "%(count)s waits for the payment service's answer.",
            "%(count)s wait for the payment service's answer.",
            late.closing,
        )
        text = f"{text} {waiting % {'count': late.closing}}"
    return text
