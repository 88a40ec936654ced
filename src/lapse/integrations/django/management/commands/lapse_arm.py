"""`manage.py lapse_arm`: tell the timer of every unpaid order again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import LapseError
from lapse.integrations.django.settings import timer, unpaid_orders

PROGRESS_EVERY = 2.0
"""Seconds between two lines of progress."""


class Command(BaseCommand):
    """Workers do this by themselves when a timer's server has lost its memory; this is for a change of mechanism."""

    help = "Arm every unpaid order again. It may be repeated, and run while the shop sells."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take whether known deadlines stay as they are."""
        parser.add_argument(
            "--only-unknown",
            action="store_true",
            help="leave alone what the timer knows, also what was buried; without it, attempts count from nought",
        )

    def handle(self, *_: Any, only_unknown: bool, **__: Any) -> None:  # noqa: ANN401 - Django's signature
        """Arm them, batch by batch."""
        count = 0
        try:
            opened = timer()
            if opened is None:
                raise CommandError("LAPSE_TIMER is none: the sweep needs no arming")
            said = SYSTEM_CLOCK.monotonic()
            for count in unpaid_orders().rearm(opened, only_unknown=only_unknown):
                if SYSTEM_CLOCK.monotonic() - said >= PROGRESS_EVERY:
                    said = SYSTEM_CLOCK.monotonic()
                    self.stdout.write(f"{count} so far")
        except LapseError as error:
            raise CommandError(f"{count} armed, then: {error}. Run it again.") from error
        self.stdout.write(f"{count} armed")
