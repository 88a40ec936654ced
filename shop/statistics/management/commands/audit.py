"""`manage.py audit`: checks stock and statistics against the rows, and names what has drifted."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from shop.statistics.books_check import CHECKS, audit


class Command(BaseCommand):
    """Ends with status 1 if anything does not agree."""

    help = (
        "Compute stock and statistics again from the rows and report any drift. The exit code is 1 if there is a drift."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--grace", type=float, default=60.0, help="seconds an order may be overdue (default: 60)")

    def handle(self, *_args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Run the audit and print each drift."""
        drifts = audit(grace=timedelta(seconds=options["grace"]))
        if options["json"]:
            report = {"ok": not drifts, "checks": CHECKS, "drift": [asdict(drift) for drift in drifts]}
            self.stdout.write(json.dumps(report, indent=2))
        else:
            for check, proven in CHECKS.items():
                found = [drift for drift in drifts if drift.check == check]
                self.stdout.write(f"{'ok   ' if not found else 'DRIFT'} {proven}")
                for drift in found:
                    self.stdout.write(f"      {drift.subject}: found {drift.found}, expected {drift.expected}")
        if drifts:
            raise CommandError(f"{len(drifts)} values do not agree.", returncode=1)
