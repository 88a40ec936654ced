"""A worker's heartbeat: a hook on its events that keeps one row up to date."""

import logging
import os
import socket
import threading
from datetime import timedelta

from django.db import close_old_connections, connections, transaction
from django.db.models.functions import Now

from lapse import Event, Kind
from lapse.orders import reminders_of
from shop.console.models import WorkerHeartbeat
from shop.console.timer_query import mechanism

log = logging.getLogger("shop.console")

REMINDERS = reminders_of("")
"""How the name of the reminders' timer ends."""

EVERY = 2.0
"""The least number of seconds between two writes."""

REMOVED_AFTER = timedelta(minutes=10)
"""How long the row of a worker that died stays visible."""

LAST_WRITE_WITHIN = 2.0
"""Seconds that a worker that stops may wait for its row to be removed."""


class Heartbeat:
    """Writes the worker's row in a thread of its own, so that a slow or absent database never delays the worker.

    The row is written only after an event, so a worker that hangs has no heartbeat. A worker that stops normally
    removes its row. Failed writes are logged once, until a write succeeds.
    """

    def __init__(self) -> None:
        self._event_came = threading.Event()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._handled = 0
        self._latest: timedelta | None = None
        self._row = 0
        self._failing = False

    def __call__(self, event: Event, /) -> None:
        """Count the event and have the row written. The reminders run beside the worker and are not counted."""
        if event.timer.endswith(REMINDERS):
            return
        with self._lock:
            if event.kind in (Kind.HANDLED, Kind.SWEPT):
                self._handled += event.count
            if event.kind is Kind.HANDLED:  # an order that fails again is late each time, and the others are not
                self._latest = event.latest
        if event.kind is Kind.STARTED or (self._thread is None and not self._ending.is_set()):
            self._start()
        if event.kind is Kind.STOPPED:
            self._stop()
        else:
            self._event_came.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._ending.clear()
            self._thread = threading.Thread(target=self._keep_writing, name="shop-heartbeat", daemon=True)
            self._thread.start()

    def _stop(self) -> None:
        self._ending.set()
        self._event_came.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(LAST_WRITE_WITHIN)

    def _keep_writing(self) -> None:
        try:
            while not self._ending.is_set():
                self._event_came.wait()
                self._event_came.clear()
                if not self._ending.is_set():
                    self._attempt(remove=False)
                self._ending.wait(EVERY)
            self._attempt(remove=True)
        finally:
            connections.close_all()

    def _attempt(self, *, remove: bool) -> None:
        try:
            close_old_connections()
            with transaction.atomic():
                self._remove() if remove else self._write()
        except Exception:
            if not self._failing:
                log.exception("the worker's heartbeat could not be written; the worker keeps trying")
            self._failing = True
        else:
            self._failing = False

    def _write(self) -> None:
        with self._lock:
            handled, latest = self._handled, self._latest
        values = {
            "handled": handled,
            "latest_ms": None if latest is None else max(0, round(latest / timedelta(milliseconds=1))),
        }
        own = WorkerHeartbeat.objects.filter(pk=self._row)
        if not own.update(seen_at=Now(), **values):
            made = WorkerHeartbeat.objects.create(
                host=socket.gethostname()[:255], pid=os.getpid(), mechanism=mechanism()[:60], **values
            )
            self._row = made.pk
        WorkerHeartbeat.objects.filter(seen_at__lt=Now() - REMOVED_AFTER).delete()

    def _remove(self) -> None:
        WorkerHeartbeat.objects.filter(pk=self._row).delete()
