"""The workers' heartbeats: written while a worker lives, removed when it stops, and never in the way of its work."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now

from lapse import Event, Kind
from lapse.testing.servers import RedisServer
from shop.catalogue.models import Product
from shop.console import heartbeat
from shop.console.heartbeat import Heartbeat
from shop.console.models import WorkerHeartbeat
from shop.orders.models import Order, Status
from tests.shop.rehearsal import make_overdue, order_of

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, list(WorkerHeartbeat.objects.values())
        time.sleep(0.05)


@contextmanager
def worker(timer: str) -> Iterator[subprocess.Popen[str]]:
    """Start the shop's worker on the test's database."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.shop.worker_settings",
        "LAPSE_TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "LAPSE_TEST_TIMER": timer,
    }
    command = [sys.executable, "-m", "django", "lapse_worker"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, text=True, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeat]:
    """Open a hook that writes often, and end it."""
    monkeypatch.setattr(heartbeat, "EVERY", 0.02)
    hook = Heartbeat()
    yield hook
    hook(Event(kind=Kind.STOPPED, timer="orders"))


@pytest.mark.parametrize("timer", [pytest.param("redis://", marks=pytest.mark.long), "none"])
def test_a_worker_is_seen_while_it_lives(timer: str, buyer: User, cup: Product) -> None:
    """A worker has a row with a timer or with the sweep alone, idle or busy; a normal stop removes the row."""
    with RedisServer() as redis, worker(redis.url if timer == "redis://" else "none") as process:
        wait_until(WorkerHeartbeat.objects.exists)
        row = WorkerHeartbeat.objects.get()
        assert (row.pid, row.mechanism, row.handled) == (process.pid, timer.removesuffix("://"), 0)
        order = order_of(buyer, cup)
        make_overdue(order)
        wait_until(lambda: WorkerHeartbeat.objects.get().handled >= 1)
        assert Order.objects.get(pk=order.pk).status == Status.CANCELLED
        seen = WorkerHeartbeat.objects.get().seen_at
        wait_until(lambda: WorkerHeartbeat.objects.get().seen_at > seen)
        assert WorkerHeartbeat.objects.get().started_at == row.started_at
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert not WorkerHeartbeat.objects.exists()


def test_a_worker_that_was_killed_falls_silent() -> None:
    """Its last heartbeat stays in its row, for people to see."""
    with worker("none") as process:
        wait_until(WorkerHeartbeat.objects.exists)
        process.kill()
        process.wait()
        seen = WorkerHeartbeat.objects.get().seen_at
        time.sleep(3)
        assert WorkerHeartbeat.objects.get().seen_at == seen


def test_a_worker_that_hangs_falls_silent(hook: Heartbeat) -> None:
    """The thread writes only after an event."""
    hook(Event(kind=Kind.STARTED, timer="orders"))
    wait_until(WorkerHeartbeat.objects.exists)
    time.sleep(0.2)
    seen = WorkerHeartbeat.objects.get().seen_at
    time.sleep(0.3)
    assert WorkerHeartbeat.objects.get().seen_at == seen
    hook(Event(kind=Kind.IDLE, timer="orders"))
    wait_until(lambda: WorkerHeartbeat.objects.get().seen_at > seen)


def test_it_counts_and_keeps_the_latest_lateness(hook: Heartbeat) -> None:
    """Batches and sweeps are summed; the lateness is that of the last batch."""
    hook(Event(kind=Kind.STARTED, timer="orders"))
    hook(Event(kind=Kind.HANDLED, timer="orders", count=500, lateness=(timedelta(milliseconds=70),)))
    hook(Event(kind=Kind.HANDLED, timer="orders", count=7, lateness=(timedelta(milliseconds=3),)))
    hook(Event(kind=Kind.SWEPT, timer="orders", count=1))
    wait_until(lambda: WorkerHeartbeat.objects.filter(handled=508, latest_ms=3).exists())


def test_old_rows_are_removed(hook: Heartbeat) -> None:
    """The row of a dead worker is removed after a while; a living worker writes its row again."""
    WorkerHeartbeat.objects.create(host="gone", pid=1, mechanism="redis", seen_at=Now() - timedelta(minutes=11))
    WorkerHeartbeat.objects.create(host="dead", pid=2, mechanism="redis", seen_at=Now() - timedelta(minutes=9))
    hook(Event(kind=Kind.STARTED, timer="orders"))
    wait_until(lambda: not WorkerHeartbeat.objects.filter(host="gone").exists())
    assert WorkerHeartbeat.objects.filter(host="dead").exists()
    WorkerHeartbeat.objects.all().delete()
    hook(Event(kind=Kind.IDLE, timer="orders"))
    wait_until(lambda: WorkerHeartbeat.objects.filter(pid=os.getpid()).exists())


def test_a_database_that_does_not_answer_slows_nothing(hook: Heartbeat, caplog: pytest.LogCaptureFixture) -> None:
    """While its table is locked, thousands of events are counted at once; a failure is logged once."""
    hook(Event(kind=Kind.STARTED, timer="orders"))
    wait_until(WorkerHeartbeat.objects.exists)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE console_workerpulse RENAME TO elsewhere")
        try:
            for _ in range(5):
                for _ in range(2000):
                    hook(Event(kind=Kind.HANDLED, timer="orders", count=1))
                time.sleep(0.1)
            wait_until(lambda: "heartbeat could not be written" in caplog.text)
        finally:
            cursor.execute("ALTER TABLE elsewhere RENAME TO console_workerpulse")
    hook(Event(kind=Kind.IDLE, timer="orders"))
    wait_until(lambda: WorkerHeartbeat.objects.filter(handled=10_000).exists())
    assert [record.name for record in caplog.records].count("shop.console") == 1


@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.RELEASED, Kind.BURIED, Kind.LEASE_LOST])
def test_the_lateness_is_that_of_the_last_batch(hook: Heartbeat, kind: Kind) -> None:
    """An order that fails again an hour after its deadline does not make the worker look late."""
    hook(Event(kind=Kind.HANDLED, timer="orders", count=2, lateness=(timedelta(0), timedelta(milliseconds=3))))
    hook(Event(kind=kind, timer="orders", count=1, lateness=(timedelta(hours=1),)))
    wait_until(WorkerHeartbeat.objects.exists)
    assert WorkerHeartbeat.objects.get().latest_ms == 3
