"""`manage.py seed`: the assortment, the group of merchants and a merchant's account. A second run changes nothing."""

import os
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.core.management.base import BaseCommand

from shop.buyers.accounts import normal
from shop.catalogue.assortment import seed_products
from shop.console.permissions import ensure_merchants


class Command(BaseCommand):
    """Takes the password from an option or, better, from the environment, which other users cannot see."""

    help = "Add the missing products, and the merchant's account if a password for it is given."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--migrate", action="store_true", help="migrate the database first, in the same process")
        parser.add_argument("--merchant-email", default=os.environ.get("MERCHANT_EMAIL", "merchant@example.com"))
        parser.add_argument(
            "--merchant-password",
            default=os.environ.get("MERCHANT_PASSWORD", ""),
            help="or MERCHANT_PASSWORD in the environment; without a password no account is created",
        )

    def handle(self, *_args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Seed the shop and print what was done."""
        if options["migrate"]:
            call_command("migrate", interactive=False, verbosity=0)
        self.stdout.write(f"{seed_products()} products added")
        merchants = ensure_merchants()
        if options["merchant_password"]:
            merchant = _ensure_account(options["merchant_email"], options["merchant_password"], merchants)
            self.stdout.write(f"merchant: {merchant.email}")


def _ensure_account(email: str, password: str, merchants: Group) -> User:
    """Create the merchant's account, or set this password if it has another one, and return it."""
    user, _ = User.objects.get_or_create(username=normal(email), defaults={"email": normal(email)})
    if not (user.is_staff and user.is_active and user.check_password(password)):
        user.is_staff = user.is_active = True
        user.set_password(password)
        user.save()
    user.groups.add(merchants)
    return user
