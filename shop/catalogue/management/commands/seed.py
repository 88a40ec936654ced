"""`manage.py seed`: the assortment, the group of merchants and the account of one. Running it again changes nothing."""

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from shop.buyers.merchant import ensure_merchant
from shop.catalogue.seeding import seed_products
from shop.console.merchants import ensure_merchants


class Command(BaseCommand):
    """The password comes from outside: from the option, or better, where others cannot see it, the environment."""

    help = "Add the products that are missing, and the merchant's account if a password for it is given."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--merchant-email", default=os.environ.get("MERCHANT_EMAIL", "merchant@example.com"))
        parser.add_argument(
            "--merchant-password",
            default=os.environ.get("MERCHANT_PASSWORD", ""),
            help="or MERCHANT_PASSWORD in the environment; without either no account is made",
        )

    def handle(self, *_args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Seed, and say what was done."""
        self.stdout.write(f"{seed_products()} products added")
        merchants = ensure_merchants()
        if options["merchant_password"]:
            merchant = ensure_merchant(options["merchant_email"], options["merchant_password"])
            merchant.groups.add(merchants)
            self.stdout.write(f"merchant: {merchant.email}")
