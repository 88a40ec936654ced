"""`manage.py lapse_worker`: lapse orders as they become due, until a signal stops it."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import connections

from lapse.engine.errors import ConfigError
from lapse.engine.events import Hook, log_event
from lapse.engine.stopping import stop_on_signals
from lapse.engine.timer import Timer
from lapse.integrations.django.command import LapseCommand, log_to_standard_error, positive_int, positive_seconds
from lapse.integrations.django.outbox.settings import outbox_settings
from lapse.integrations.django.settings import hooks, unpaid_orders
from lapse.integrations.django.timer_setting import timer_named, timer_url
from lapse.integrations.django.unpaid_orders import UnpaidOrders
from lapse.orders.reminding import reminders_of
from lapse.orders.service import Beside, Service
from lapse.orders.service_options import ServiceOptions

if TYPE_CHECKING:
    from lapse.integrations.django.outbox.running import Outbox

USUAL = ServiceOptions()


class Command(LapseCommand):
    """Runs a worker on the timer and a sweep; only the sweep if LAPSE_TIMER is none."""

    help = "Lapse unpaid orders as they become due. Run as many as you like. Stops cleanly on SIGTERM and Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add sizes and times."""
        add = parser.add_argument
        beside, alone = USUAL.sweep_beside_timer.total_seconds(), USUAL.sweep_alone.total_seconds()
        lease, drain = USUAL.lease.total_seconds(), USUAL.drain.total_seconds()
        add("--batch", type=positive_int, default=USUAL.batch, help="orders in one transaction (default: %(default)s)")
        add("--lease", type=positive_seconds, default=lease, help="seconds that a claim is held (%(default)s)")
        add("--sweep-every", type=positive_seconds, help=f"seconds ({beside:g} beside a timer, else {alone:g})")
        add("--max-attempts", type=positive_int, default=USUAL.max_attempts, help="before it is buried (%(default)s)")
        add("--drain", type=positive_seconds, default=drain, help="seconds to finish in (%(default)s)")

    def handle(self, *_: Any, **given: Any) -> None:  # noqa: ANN401 - Django's signature
        """Run until SIGTERM or SIGINT."""
        every = given["sweep_every"]
        options = ServiceOptions(
            batch=given["batch"],
            lease=timedelta(seconds=given["lease"]),
            sweep_beside_timer=USUAL.sweep_beside_timer if every is None else timedelta(seconds=every),
            sweep_alone=USUAL.sweep_alone if every is None else timedelta(seconds=every),
            max_attempts=given["max_attempts"],
            drain=timedelta(seconds=given["drain"]),
        )
        log_to_standard_error()
        orders, url = unpaid_orders(), timer_url()
        self.rehearse(orders)  # report an unusable database now: later the service would wait for it
        port = orders.port(background=True)
        all_hooks = (log_event, *hooks())
        outbox = _outbox(options.drain)
        beside: dict[str, Beside | None] = {
            "lapse-reconciler": orders.reconciler(hooks=all_hooks) if orders.attempts else None,
            "lapse-reminders": _reminders(orders, options, all_hooks, with_timer=bool(url)),
            "lapse-outbox": outbox,
        }
        service = Service(
            port.lapsing(),
            partial(_open_timer, orders.name) if url else None,
            beside={name: work for name, work in beside.items() if work is not None},
            name=orders.name,
            options=options,
            hooks=all_hooks,
            after_thread=connections.close_all,
        )
        lapsed_by = f"{url.partition(':')[0]} timer and a sweep" if url else "a sweep"  # the URL may hold a password
        seconds = service.sweep_every.total_seconds()
        with stop_on_signals(service.stop):  # signals stop it as soon as the line is printed
            self.stdout.write(f"lapsing {orders.name} by {lapsed_by} every {seconds:g} s; Ctrl-C or SIGTERM stops it")
            if orders.remind is not None:
                self.stdout.write(f"reminding of orders {orders.remind} before their deadline")
            if outbox is not None:
                self.stdout.write(f"delivering messages to {', '.join(outbox.endpoints)}")
            self.stdout.flush()
            try:
                service.run()
            finally:
                connections.close_all()


def _reminders(
    orders: UnpaidOrders[Any], options: ServiceOptions, all_hooks: Sequence[Hook], *, with_timer: bool
) -> Service | None:
    """Return the service of the reminders, or None if the shop sends none.

    Without a timer, its sweep comes as often as beside one: a reminder is some minutes early and need not be punctual.
    """
    reminding = orders.reminders(background=True)
    if reminding is None:
        return None
    name = reminders_of(orders.name)
    return Service(
        reminding,
        partial(_open_timer, name) if with_timer else None,
        name=name,
        options=replace(options, sweep_alone=options.sweep_beside_timer),
        hooks=all_hooks,
        after_thread=connections.close_all,
    )


def _open_timer(name: str) -> Timer:
    opened = timer_named(name)
    if opened is None:
        raise ConfigError("LAPSE_TIMER was set when the worker started and is none now")
    return opened


def _outbox(drain: timedelta) -> "Outbox | None":
    """Return what delivers the shop's messages; None if LAPSE_OUTBOX declares no endpoint."""
    declared = outbox_settings()
    if not declared.endpoints:
        return None
    from lapse.integrations.django.outbox.running import Outbox  # noqa: PLC0415 - its app may not be installed

    return Outbox(declared, drain=drain)
