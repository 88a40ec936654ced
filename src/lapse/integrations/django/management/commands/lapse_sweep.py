"""`manage.py lapse_sweep`: lapse every overdue order once, or show what such a sweep would lapse."""

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any

from django.core.management.base import CommandError

from lapse.engine.deadline import Deadline
from lapse.engine.visible import one_line, visible_key
from lapse.integrations.django.command import LapseCommand, positive_int
from lapse.integrations.django.settings import unpaid_orders
from lapse.integrations.django.unpaid_orders import UnpaidOrders
from lapse.orders.port import Orders, Outcome
from lapse.orders.service_options import BATCH
from lapse.orders.shop import Shop
from lapse.orders.sweep import Sweep

KEYS_SHOWN = 10
"""How many keys a message names."""


class Command(LapseCommand):
    """Fails if an order could not be lapsed. With `--dry-run` it only reads, so it never fails for an order."""

    help = "Lapse every overdue order once, and print how many. For cron, and after an outage."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the size of a batch, and the option that changes nothing."""
        add = parser.add_argument
        add("--batch", type=positive_int, default=BATCH, help="orders in one transaction (default: %(default)s)")
        add("--dry-run", action="store_true", help="change nothing; print how many orders would lapse, and which")

    def handle(self, *_: Any, batch: int, dry_run: bool, **__: Any) -> None:  # noqa: ANN401 - Django's signature
        """Sweep once, or show what a sweep would lapse."""
        orders = unpaid_orders()
        if dry_run:
            self._show(orders, batch)
            return
        self.rehearse(orders)
        lapsing = orders.port(background=True).lapsing()
        swept = Sweep(lapsing, batch=batch, timer=orders.name).once()
        lapsing.closing.drain(lapsing.closing.calls.budget.total_seconds())  # these calls would end with this process
        self.stdout.write(f"{swept.lapsed} lapsed")
        for outcome, count in sorted(swept.outcomes.items()):
            if count and outcome is not Outcome.LAPSED:
                self.stdout.write(f"{count} {outcome}")
        if swept.failed:
            named = ", ".join(visible_key(key) for key in swept.failed[:KEYS_SHOWN])
            raise CommandError(f"{len(swept.failed)} could not be lapsed; the log says why: {named}")

    def _show(self, orders: UnpaidOrders[Any], batch: int) -> None:
        """Print the overdue orders: how many, from when to when, the first keys. Calls no hook and no gateway.

        The deadlines are the announced ones, without the grace.
        """
        count = 0
        first: list[Deadline] = []
        newest = None
        port = orders.port(background=True)
        for order in _overdue(port, batch):
            count += 1
            newest = order
            if count <= KEYS_SHOWN:
                first.append(order)
        self.stdout.write(f"{count} would lapse, of {orders.count_unpaid()} unpaid")
        for key, reason in port.unreadable(KEYS_SHOWN).items():
            self.stdout.write(f"{visible_key(key)} can never lapse: {one_line(reason)}")
        if newest is None:
            return
        self.stdout.write(f"oldest deadline: {_utc(first[0], orders.grace)}")
        self.stdout.write(f"newest deadline: {_utc(newest, orders.grace)}")
        named = ", ".join(visible_key(order.key) for order in first)
        self.stdout.write(f"first keys: {named}{', …' if count > len(first) else ''}")
        if type(orders).postpone is not Shop.postpone:
            self.stdout.write("not asked: postpone(), which may keep orders of these")
        if type(orders).open_attempts is not Shop.open_attempts:
            self.stdout.write("not asked: the gateways, which may report orders of these as paid")


def _overdue(port: Orders, batch: int) -> Iterator[Deadline]:
    """Yield every overdue order, oldest first, as a sweep pages through them."""
    last: Deadline | None = None
    while page := port.overdue(batch, after=last):
        yield from page
        last = page[-1]


def _utc(order: Deadline, grace: timedelta) -> str:
    return f"{(order.due_at - grace).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
