"""`manage.py lapse_outbox`: deliver the messages of the outbox, until a signal stops it."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from lapse.engine.stopping import stop_on_signals
from lapse.engine.worker import DRAIN
from lapse.integrations.django.command import LapseCommand, log_to_standard_error, positive_seconds
from lapse.integrations.django.outbox.running import Outbox
from lapse.integrations.django.outbox.settings import outbox_settings


class Command(LapseCommand):
    """For deliveries in a process of their own. `lapse_worker` delivers as well."""

    help = "Deliver webhooks and mails. Run as many as you like. Stops cleanly on SIGTERM and Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the time to finish in."""
        drain = DRAIN.total_seconds()
        parser.add_argument("--drain", type=positive_seconds, default=drain, help="seconds to finish in (%(default)s)")

    def handle(self, *_: Any, drain: float, **__: Any) -> None:  # noqa: ANN401 - Django's signature
        """Deliver until SIGTERM or SIGINT."""
        declared = outbox_settings()
        if not declared.endpoints:
            raise CommandError("LAPSE_OUTBOX declares no endpoint, so there is nothing to deliver to")
        log_to_standard_error()
        outbox = Outbox(declared, drain=timedelta(seconds=drain))
        with stop_on_signals(outbox.stop):  # signals stop it as soon as the line is printed
            self.stdout.write(f"delivering to {', '.join(outbox.endpoints)}; Ctrl-C or SIGTERM stops it")
            self.stdout.flush()
            outbox.run()
