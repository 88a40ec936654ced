"""`manage.py lapse_arm`: arm the timer for every unpaid order again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import ConfigError, LapseError
from lapse.integrations.django.command import LapseCommand
from lapse.integrations.django.settings import timer, unpaid_orders
from lapse.orders.arm_unpaid import arm_unpaid

PROGRESS_EVERY = 2.0
"""Seconds between two lines of progress."""


class Command(LapseCommand):
    """Workers do this by themselves when a timer's server has lost deadlines; this is for a change of mechanism."""

    help = "Arm every unpaid order again. It may be repeated, and run while the shop sells."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add whether known deadlines stay as they are."""
        parser.add_argument(
            "--only-unknown",
            action="store_true",
            help="leave alone what the timer knows, also what was buried; without it, attempts are reset to 0",
        )

    def handle(self, *_: Any, only_unknown: bool, **__: Any) -> None:  # noqa: ANN401 - Django's signature
        """Arm the orders, batch by batch."""
        opened = timer()
        if opened is None:
            raise CommandError("LAPSE_TIMER is none: the sweep needs no arming")
        count = 0
        reported = SYSTEM_CLOCK.monotonic()
        try:
            for count in arm_unpaid(opened, unpaid_orders().port(background=True), only_unknown=only_unknown):
                if SYSTEM_CLOCK.monotonic() - reported >= PROGRESS_EVERY:
                    reported = SYSTEM_CLOCK.monotonic()
                    self.stdout.write(f"{count} so far")
        except ConfigError:
            raise
        except LapseError as error:
            raise CommandError(f"{count} armed, then: {error}. Run it again.") from error
        self.stdout.write(f"{count} armed")
