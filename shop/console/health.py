"""Is anything late, and does a worker live? What an operator must know at a glance."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils.translation import gettext, ngettext

from lapse.engine.timer import Stats
from lapse.integrations.django import timer_url
from shop import named_sql
from shop.console.models import WorkerPulse
from shop.console.timer_query import NoTimer, TimerAway, ask
from shop.orders.clock import database_now
from shop.payments.models import PaymentAttempt, State

SILENT_AFTER = timedelta(seconds=15)
"""A worker that was not heard of for so long counts as dead."""

LOOK_BACK = timedelta(hours=1)
"""Over which time the lateness is reckoned."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """How long after their deadline orders expired in the last hour: how many, and milliseconds (None: no order)."""

    count: int
    p50: float | None
    p99: float | None
    most: float | None


@dataclass(frozen=True, slots=True)
class Late:
    """Orders that should have lapsed: how many, how many of these wait for a gateway, the first deadline."""

    count: int
    closing: int
    earliest: datetime | None


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, and whether it was heard of lately."""

    pulse: WorkerPulse
    alive: bool
    silent_for: timedelta


@dataclass(slots=True)
class Health:
    """All of it at one moment of the database's clock. `stats` is None where the timer is away, or there is none."""

    now: datetime
    late: Late
    lateness: Lateness
    workers: list[Worker]
    orphaned: int
    mechanism: str
    stats: Stats | None = None
    away: str = ""
    alarms: list[str] = field(default_factory=list)

    @property
    def alive(self) -> int:
        """How many workers live."""
        return sum(worker.alive for worker in self.workers)


def health() -> Health:
    """Look at everything and say what is wrong. A timer that is away is one of the things that may be wrong."""
    now = database_now()
    found = Health(
        now=now,
        late=_late(),
        lateness=Lateness(*named_sql.rows("console/lateness", {"within": LOOK_BACK})[0]),
        workers=[
            Worker(pulse, now - pulse.seen_at < SILENT_AFTER, max(timedelta(0), now - pulse.seen_at))
            for pulse in WorkerPulse.objects.all()
        ],
        orphaned=PaymentAttempt.objects.filter(state=State.ORPHANED).count(),
        mechanism=(timer_url() or "none").partition(":")[0],
    )
    try:
        found.stats = ask(lambda timer: timer.stats())
    except TimerAway as error:
        found.away = str(error)
    except NoTimer:
        found.mechanism = "none"
    found.alarms = _alarms(found)
    return found


def _late() -> Late:
    count, closing, earliest = named_sql.rows("console/late", {"after": settings.CONSOLE_LATE_AFTER})[0]
    return Late(count, closing, earliest)


def _alarms(found: Health) -> list[str]:
    """Say in sentences what somebody must look at."""
    alarms = []
    if found.late.count:
        alarms.append(_late_alarm(found.late))
    if not found.alive:
        seconds: dict[str, Any] = {"seconds": round(SILENT_AFTER.total_seconds())}
        alarms.append(
            gettext("No worker was heard of for %(seconds)s seconds. Start manage.py lapse_worker.") % seconds
        )
    if found.away:
        alarms.append(gettext("The timer does not answer. The workers' sweep goes on cancelling what is overdue."))
    if found.stats is not None and found.stats.buried:
        text = ngettext(
            "%(count)s deadline is buried: its order could not be cancelled again and again.",
            "%(count)s deadlines are buried: their orders could not be cancelled again and again.",
            found.stats.buried,
        )
        alarms.append(text % {"count": found.stats.buried})
    return alarms


def _late_alarm(late: Late) -> str:
    text = ngettext(
        "%(count)s order should have been cancelled and was not; its time was over at %(at)s UTC.",
        "%(count)s orders should have been cancelled and were not; the oldest one's time was over at %(at)s UTC.",
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
