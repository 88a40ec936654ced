"""`manage.py invent_past`: orders of the last days, for a demo, a screenshot, or a trial with many orders."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from shop.catalogue.models import Product
from shop.console.demo import invent_past


class Command(BaseCommand):
    """Not for a shop that sells: the invented orders count in the statistics."""

    help = "Write orders of the last days, all of them paid or cancelled, into a shop that is for trials only."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the number of orders and the number of days."""
        parser.add_argument("orders", type=int, help="the number of orders")
        parser.add_argument(
            "--days",
            type=float,
            default=14.0,
            help="the number of days until now over which the orders are spread (%(default)s)",
        )

    def handle(self, *_args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Write the orders."""
        if options["orders"] < 1 or options["days"] <= 0:
            raise CommandError("The number of orders and of days must be greater than 0.")
        if not Product.objects.exists():
            raise CommandError("There is no product. Run manage.py seed first.")
        self.stdout.write(f"{invent_past(options['orders'], days=options['days'])} orders invented")
