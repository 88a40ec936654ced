"""`manage.py audit`: checks stock, statistics and money against the rows, and names what has drifted."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from shop.statistics.books_check import CHECKS, Drift, audit
from shop.statistics.books_fix import FIXES, fix


class Command(BaseCommand):
    """Ends with status 1 if anything does not agree, or still does not agree after `--fix`."""

    help = (
        "Compute stock, statistics and money again from the rows and report any drift. The exit code is 1 if there is "
        "a drift. --fix writes again what is derived; orders and money are never changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--grace",
            type=float,
            default=60.0,
            help="seconds an order may be overdue, and an attempt of an ended order open (default: 60)",
        )
        parser.add_argument(
            "--fix",
            action="store_true",
            help="compute each product's `held` and the days' statistics again where they have drifted; sales wait "
            "meanwhile",
        )

    def handle(self, *_args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Run the audit, fix what is derived if that is wanted, and print each change and each drift that is left."""
        grace = timedelta(seconds=options["grace"])
        drifts, fixed = audit(grace=grace), list[Drift]()
        if options["fix"] and drifts:
            fixed = fix({drift.check for drift in drifts})
            drifts = audit(grace=grace)
        if options["json"]:
            report = {"ok": not drifts, "checks": CHECKS, "drift": [asdict(drift) for drift in drifts]}
            if options["fix"]:
                report["fixed"] = [asdict(drift) for drift in fixed]
            self.stdout.write(json.dumps(report, indent=2))
        else:
            self._print(drifts, fixed)
        if drifts:
            raise CommandError(f"{len(drifts)} values do not agree.{_advice(drifts, fix=options['fix'])}", returncode=1)

    def _print(self, drifts: Iterable[Drift], fixed: Iterable[Drift]) -> None:
        for drift in fixed:
            self.stdout.write(f"FIXED {drift.check} of {drift.subject}: was {drift.found}, is {drift.expected}")
        for check, proven in CHECKS.items():
            found = [drift for drift in drifts if drift.check == check]
            self.stdout.write(f"{'ok   ' if not found else 'DRIFT'} {proven}")
            for drift in found:
                self.stdout.write(f"      {drift.subject}: found {drift.found}, expected {drift.expected}")


def _advice(drifts: Iterable[Drift], *, fix: bool) -> str:
    """Return what to do about the drifts that are left."""
    checks = {drift.check for drift in drifts}
    advice = []
    if checks & set(FIXES) and not fix:
        advice.append("`manage.py audit --fix` corrects what is derived.")
    if "held" in checks and fix:
        advice.append(
            "Orders hold more pieces than are on hand: add the missing pieces in the console, then fix again."
        )
    if checks - set(FIXES):
        names = ", ".join(sorted(checks - set(FIXES)))
        advice.append(f"Orders and money are never changed by --fix, so a person must look at: {names}.")
    return "".join(f" {sentence}" for sentence in advice)
