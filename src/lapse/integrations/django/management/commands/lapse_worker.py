"""`manage.py lapse_worker`: lapse orders as they become due, until told to stop."""

import logging
import signal
import threading
from argparse import ArgumentParser
from datetime import timedelta
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from lapse.engine.claim_loop import RECONNECT
from lapse.engine.errors import ConfigError, TimerUnavailable
from lapse.engine.events import Event, Hook, Kind, emit, log_event
from lapse.engine.timer import LEASE, Timer
from lapse.engine.waker import Waker
from lapse.engine.worker import DRAIN, MAX_ATTEMPTS, Worker
from lapse.integrations.django.background import background_lapsing, background_sweep
from lapse.integrations.django.settings import hooks, timer, timer_url, unpaid_orders
from lapse.integrations.django.unpaid_orders import BATCH

SWEEP_BESIDE = 15.0
"""Seconds between sweeps beside a timer: how late an order is, at the most, that the timer has never heard of."""

SWEEP_ALONE = 1.0
"""Seconds between sweeps where they are all there is."""


class Command(BaseCommand):
    """A worker on the timer and a sweep beside it, or the sweep alone where LAPSE_TIMER is none."""

    help = "Lapse unpaid orders as they become due. Run as many as you like. Stops cleanly on SIGTERM and Ctrl-C."

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Django's signature
        super().__init__(*args, **kwargs)
        self._bell = Waker()
        self._stopping = False
        self._worker: Worker | None = None
        self._hooks: tuple[Hook, ...] = (log_event,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take sizes and times."""
        add = parser.add_argument
        add("--batch", type=int, default=BATCH, help="orders in one transaction (default: %(default)s)")
        add("--lease", type=float, default=LEASE.total_seconds(), help="seconds that a claim is held (%(default)s)")
        add("--sweep-every", type=float, help=f"seconds ({SWEEP_BESIDE:g} beside a timer, else {SWEEP_ALONE:g})")
        add("--max-attempts", type=int, default=MAX_ATTEMPTS, help="tries before it is buried (%(default)s)")
        add("--drain", type=float, default=DRAIN.total_seconds(), help="seconds to finish in (%(default)s)")

    def handle(self, *_: Any, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Run until SIGTERM or SIGINT."""
        _log_to_standard_error()
        try:
            self._hooks = (log_event, *hooks())
        except ConfigError as error:
            raise CommandError(str(error)) from error
        orders = unpaid_orders()
        url = timer_url()
        every = options["sweep_every"] or (SWEEP_BESIDE if url else SWEEP_ALONE)
        if min(options["batch"], options["lease"], every, options["max_attempts"], options["drain"]) <= 0:
            raise CommandError("every number must be greater than nought")
        sweep = background_sweep(
            orders,
            every=timedelta(seconds=every),
            batch=options["batch"],
            hooks=self._hooks,
            with_timer=url is not None,
        )
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        thread = threading.Thread(target=sweep.run, name="lapse-sweep", daemon=True)
        thread.start()
        what = f"{url.partition(':')[0]} timer and a sweep" if url else "a sweep"  # the URL may hold a password
        self.stdout.write(f"lapsing {orders.name} by {what} every {every:g} s; Ctrl-C or SIGTERM stops it")
        self.stdout.flush()
        try:
            if url is None:
                self._wait_for_stop(orders.name)
            else:
                self._work(options)
        finally:
            sweep.stop()
            thread.join(options["drain"])
            connections.close_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _work(self, options: dict[str, Any]) -> None:
        orders = unpaid_orders()
        opened = self._open_timer(orders.name)
        if opened is None:
            return
        with opened:
            self._worker = Worker(
                opened,
                background_lapsing(orders).handle,
                batch=options["batch"],
                lease=timedelta(seconds=options["lease"]),
                max_attempts=options["max_attempts"],
                drain=timedelta(seconds=options["drain"]),
                rearm=lambda: _rearm(opened),
                hooks=self._hooks,
            )
            if self._stopping:  # the signal came before there was a worker to stop
                self._worker.stop()
            self._worker.run()

    def _open_timer(self, name: str) -> Timer | None:
        """Open the timer, however long its server is away; meanwhile the sweep works. None once told to stop."""
        failures = 0
        while not self._stopping:
            try:
                return timer()
            except ConfigError as error:
                raise CommandError(str(error)) from error
            except TimerUnavailable as error:
                failures += 1
                kind = Kind.TIMER_LOST if failures == 1 else Kind.IDLE
                emit(self._hooks, Event(kind=kind, timer=name, reason=str(error)))
                self._bell.wait(RECONNECT.delay(failures).total_seconds())
        return None

    def _wait_for_stop(self, name: str) -> None:
        emit(self._hooks, Event(kind=Kind.STARTED, timer=name))
        while not self._stopping:
            self._bell.wait(60.0)
        emit(self._hooks, Event(kind=Kind.STOPPED, timer=name))

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        self._bell.interrupt()
        if self._worker is not None:
            self._worker.stop()


def _rearm(opened: Timer) -> int:
    """Arm what the timer does not know; runs in a thread of the worker's, which ends with it."""
    count = 0
    try:
        for so_far in unpaid_orders().rearm(opened):
            count = so_far
    finally:
        connections.close_all()
    return count


def _log_to_standard_error() -> None:
    """Where the shop's settings send Lapse's log nowhere, send it to standard error."""
    log = logging.getLogger("lapse")
    if not log.hasHandlers():
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
