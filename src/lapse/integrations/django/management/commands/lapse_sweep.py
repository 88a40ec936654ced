"""`manage.py lapse_sweep`: lapse every overdue order once."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lapse.engine.errors import TryLater
from lapse.integrations.django.background import background_lapsing
from lapse.integrations.django.settings import unpaid_orders
from lapse.integrations.django.unpaid_orders import BATCH
from lapse.orders.sweep import Sweep


class Command(BaseCommand):
    """Fails where some order could not be lapsed."""

    help = "Lapse every overdue order once, and say how many there were. For cron, and after an outage."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the size of a batch."""
        parser.add_argument("--batch", type=int, default=BATCH, help="orders in one transaction (default: %(default)s)")

    def handle(self, *_: Any, batch: int, **__: Any) -> None:  # noqa: ANN401 - Django's signature
        """Sweep once."""
        if batch < 1:
            raise CommandError("--batch must be at least 1")
        orders = unpaid_orders()
        try:
            swept = Sweep(background_lapsing(orders), batch=batch, timer=orders.name).once()
        except TryLater as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{swept.lapsed} lapsed")
        for outcome, count in sorted(swept.outcomes.items()):
            if count and outcome != "lapsed":
                self.stdout.write(f"{count} {outcome}")
        if swept.failed:
            named = ", ".join(swept.failed[:10])
            raise CommandError(f"{len(swept.failed)} could not be lapsed; the log says why: {named}")
