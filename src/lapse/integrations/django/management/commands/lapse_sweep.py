"""`manage.py lapse_sweep`: lapse every overdue order once."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from lapse.integrations.django.command import LapseCommand, positive_int
from lapse.integrations.django.settings import unpaid_orders
from lapse.orders.port import Outcome
from lapse.orders.service import BATCH
from lapse.orders.sweep import Sweep


class Command(LapseCommand):
    """Fails if an order could not be lapsed."""

    help = "Lapse every overdue order once, and print how many. For cron, and after an outage."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the size of a batch."""
        add = parser.add_argument
        add("--batch", type=positive_int, default=BATCH, help="orders in one transaction (default: %(default)s)")

    def handle(self, *_: Any, batch: int, **__: Any) -> None:  # noqa: ANN401 - Django's signature
        """Sweep once."""
        orders = unpaid_orders()
        swept = Sweep(orders.port(background=True).lapsing(), batch=batch, timer=orders.name).once()
        self.stdout.write(f"{swept.lapsed} lapsed")
        for outcome, count in sorted(swept.outcomes.items()):
            if count and outcome is not Outcome.LAPSED:
                self.stdout.write(f"{count} {outcome}")
        if swept.failed:
            named = ", ".join(swept.failed[:10])
            raise CommandError(f"{len(swept.failed)} could not be lapsed; the log says why: {named}")
