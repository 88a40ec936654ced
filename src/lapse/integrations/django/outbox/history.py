"""What was sent and what waits: queries for a page of the shop, and what a person decides about a message."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import router
from django.db.models import Count, F, Min, Q, QuerySet

from lapse.integrations.django.outbox.models import OPEN, Delivery, State
from lapse.integrations.django.outbox.wakeups import wake_all
from lapse.integrations.django.rows.database_clock import DatabaseNow

if TYPE_CHECKING:
    from collections.abc import Collection

REMOVED_AT_ONCE = 1000
"""How many old rows one statement removes, so that no lock is held for long."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for one endpoint: how many messages, the oldest's time, and how many are buried."""

    endpoint: str
    waiting: int
    oldest: datetime | None
    buried: int


def deliveries(*, key: str = "", state: str = "", endpoint: str = "") -> QuerySet[Delivery]:
    """Return the deliveries with this key, in this state and for this endpoint, the newest first. Empty: any."""
    if "\0" in key + state + endpoint:  # PostgreSQL raises an error where such a text is compared
        return Delivery.objects.none()
    wanted = {"key": key, "state": state, "endpoint": endpoint}
    return Delivery.objects.filter(**{name: value for name, value in wanted.items() if value}).order_by("-pk")


def backlogs() -> list[Backlog]:
    """Return what waits for each endpoint, without endpoints for which nothing waits."""
    waiting = Q(state=State.WAITING)
    found = Delivery.objects.filter(state__in=OPEN).values("endpoint").order_by("endpoint")
    counted = found.annotate(
        waiting=Count("pk", filter=waiting),
        oldest=Min("made_at", filter=waiting),
        buried=Count("pk", filter=Q(state=State.BURIED)),
    )
    return [Backlog(**row) for row in counted]


def send_again(pk: int) -> bool:
    """Send a message again, with its id: one that was delivered or given up, or that is buried. Return whether it will.

    Return False if it waits already. It is sent before the later messages of its key that wait.
    """
    ended = _rows().filter(pk=pk).exclude(state=State.WAITING)
    changed = ended.update(state=State.WAITING, due_at=DatabaseNow(), ended_at=None, tries=0, token=F("token") + 1)
    wake_all()
    return bool(changed)


def send_now(pk: int) -> bool:
    """Let a waiting message be tried at once. Return False if it does not wait, or if a worker sends it now."""
    waiting = _rows().filter(pk=pk, state=State.WAITING, due_at__gt=DatabaseNow())
    changed = waiting.exclude(tries=0).update(due_at=DatabaseNow(), token=F("token") + 1)
    wake_all()
    return bool(changed)


def give_up(pk: int) -> bool:
    """Send a message no more, so that the later messages of its key go on. Return whether it waited or was buried.

    A try that is under way may still arrive.
    """
    changed = (
        _rows()
        .filter(pk=pk, state__in=OPEN)
        .update(state=State.GIVEN_UP, due_at=None, ended_at=DatabaseNow(), token=F("token") + 1)
    )
    wake_all()
    return bool(changed)


def remove_old(keep: timedelta) -> int:
    """Remove messages that were delivered or given up longer ago than `keep`. Return how many."""
    ended = _rows().exclude(state__in=OPEN).filter(ended_at__lt=DatabaseNow(keep))
    removed = 0
    while pks := list(ended.order_by("ended_at").values_list("pk", flat=True)[:REMOVED_AT_ONCE]):
        removed += ended.filter(pk__in=pks).delete()[0]
    return removed


def undeclared(names: Collection[str]) -> dict[str, int]:
    """Return how many messages wait for each endpoint that is not among the names."""
    return {found.endpoint: found.waiting for found in backlogs() if found.waiting and found.endpoint not in names}


def _rows() -> QuerySet[Delivery]:
    return QuerySet(Delivery, using=router.db_for_write(Delivery))
