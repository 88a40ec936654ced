"""A worker's sign of life: a hook on its events that keeps one row fresh."""

import logging
import os
import socket
import threading
from datetime import timedelta

from django.db import close_old_connections, connections, transaction
from django.db.models.functions import Now

from lapse.engine.events import Event, Kind
from lapse.integrations.django import timer_url
from shop.console.models import WorkerPulse

log = logging.getLogger("shop.console")

EVERY = 2.0
"""Seconds between two writes, at the least."""

FORGOTTEN_AFTER = timedelta(minutes=10)
"""How long the row of a worker that died stays to be seen."""

LAST_WORD_WITHIN = 2.0
"""Seconds that the end of a worker may wait for its row to be removed."""


class Pulse:
    """Writes what it hears by a thread of its own, so a slow or absent database never slows the work.

    A row is written only after something was heard: a worker that hangs falls silent here as well. One that stops in
    good order removes its row. A write that fails is logged once, until one succeeds.
    """

    def __init__(self) -> None:
        self._heard = threading.Event()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._handled = 0
        self._latest: timedelta | None = None
        self._row = 0
        self._failing = False

    def __call__(self, event: Event, /) -> None:
        """Take note of the event."""
        with self._lock:
            if event.kind in (Kind.HANDLED, Kind.SWEPT):
                self._handled += event.count
            if event.latest is not None:
                self._latest = event.latest
        if event.kind is Kind.STARTED or (self._thread is None and not self._ending.is_set()):
            self._start()
        if event.kind is Kind.STOPPED:
            self._stop()
        else:
            self._heard.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._ending.clear()
            self._thread = threading.Thread(target=self._write_on, name="shop-pulse", daemon=True)
            self._thread.start()

    def _stop(self) -> None:
        self._ending.set()
        self._heard.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(LAST_WORD_WITHIN)

    def _write_on(self) -> None:
        try:
            while not self._ending.is_set():
                self._heard.wait()
                self._heard.clear()
                if not self._ending.is_set():
                    self._attempt(gone=False)
                self._ending.wait(EVERY)
            self._attempt(gone=True)
        finally:
            connections.close_all()

    def _attempt(self, *, gone: bool) -> None:
        try:
            close_old_connections()
            with transaction.atomic():
                self._remove() if gone else self._write()
        except Exception:
            if not self._failing:
                log.exception("the worker's sign of life could not be written; it goes on being tried")
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
        mine = WorkerPulse.objects.filter(pk=self._row)
        if not mine.update(seen_at=Now(), **values):
            made = WorkerPulse.objects.create(
                host=socket.gethostname()[:255], pid=os.getpid(), mechanism=_mechanism(), **values
            )
            self._row = made.pk
        WorkerPulse.objects.filter(seen_at__lt=Now() - FORGOTTEN_AFTER).delete()

    def _remove(self) -> None:
        WorkerPulse.objects.filter(pk=self._row).delete()


def _mechanism() -> str:
    """Name the timer; its address may hold a password."""
    url = timer_url()
    return "none" if url is None else url.partition(":")[0][:60]
