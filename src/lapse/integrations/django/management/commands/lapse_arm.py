"""`manage.py lapse_arm`: arm the timer for every unpaid order again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import LapseError
from lapse.engine.visible import one_line
from lapse.integrations.django.command import LapseCommand
from lapse.integrations.django.settings import timer, unpaid_orders
from lapse.orders.arm_again import arm_unpaid

PROGRESS_EVERY = 2.0
"""Seconds between two lines of progress."""


class Command(LapseCommand):
    """For a change of mechanism. After a server's loss of deadlines, the workers themselves arm the orders."""

    help = "Arm every unpaid order again. You can repeat it, and run it while the shop sells."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the option that leaves known deadlines as they are."""
        parser.add_argument(
            "--only-unknown",
            action="store_true",
            help="do not change deadlines that the timer knows, buried ones included; else attempts are reset to 0",
        )

    def handle(self, *_: Any, only_unknown: bool, **__: Any) -> None:  # noqa: ANN401 - Django's signature
        """Arm the orders, batch by batch."""
        opened = timer()
        if opened is None:
            raise CommandError("LAPSE_TIMER is none: the sweep needs no arming")
        opened.stats()  # so that a timer that refuses is found even if there is nothing to arm
        count = 0
        reported = SYSTEM_CLOCK.monotonic()
        try:
            for count in arm_unpaid(opened, unpaid_orders().port(background=True), only_unknown=only_unknown):
                if SYSTEM_CLOCK.monotonic() - reported >= PROGRESS_EVERY:
                    reported = SYSTEM_CLOCK.monotonic()
                    self.stdout.write(f"{count} so far")
        except LapseError as error:
            if not count:
                raise
            raise CommandError(f"{count} armed; run it again, because then: {one_line(error)}") from error
        self.stdout.write(f"{count} armed")
