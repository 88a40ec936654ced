"""Runs the outbox in this process, as `manage.py lapse_outbox` does."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from lapse import Backoff
from lapse.integrations.django.outbox.models import Delivery, State
from lapse.integrations.django.outbox.running import Outbox
from lapse.integrations.django.outbox.settings import outbox_settings
from tests.engine.running import wait_until

QUICK = Backoff(first=timedelta(milliseconds=10), most=timedelta(milliseconds=100))
LEASE = timedelta(seconds=5)


@contextmanager
def running(count: int = 1, *, backoff: Backoff = QUICK, lease: timedelta = LEASE) -> Iterator[None]:
    """Run so many workers during the block."""
    if not count:
        yield
        return
    outbox = Outbox(outbox_settings(), drain=timedelta(seconds=10), backoff=backoff, lease=lease)
    with outbox.in_background(), running(count - 1, backoff=backoff, lease=lease):
        yield


def wait_for_all(state: State = State.DELIVERED) -> None:
    """Wait until every message is in this state."""
    wait_until(lambda: not Delivery.objects.exclude(state=state).exists(), f"not all messages are {state}")
