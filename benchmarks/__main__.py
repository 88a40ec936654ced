"""`make bench`: every mechanism on the same work, with the usual way beside them, in one run.

For each mechanism: how late it is among few and many pending orders, and how quickly it drains a burst. How quickly it
is armed, what a pending deadline weighs, and what a killed worker or server costs. Then the reference shop's orders
beside a payment gateway that hangs. Every measurement is on private servers that are started for it, in processes of
their own, on one machine and by its clock.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from benchmarks import chart
from benchmarks.hanging_gateway import hanging_gateway
from benchmarks.machine import header
from benchmarks.measuring import Say, crashes, rates
from benchmarks.polling import polling
from benchmarks.rows import RESULTS, Results, Row
from benchmarks.scene import MeasurementFailed, NoServer
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.subjects import NAIVE, subjects
from benchmarks.table import HANGING, RATES, SERVER_KILLED, WORKER_KILLED, lateness_columns, lines, plain

LEFT_OUT = "LEFT OUT  "
"""What stands before a mechanism that could not be measured for want of its server."""


def main() -> int:
    """Measure, print, write. Returns 0, or 1 where something was early, was lost, or could not be measured."""
    given = _arguments()
    sizes = QUICK if given.quick else FULL
    if given.pending:
        sizes = replace(sizes, pending=given.pending)
    begun = time.perf_counter()
    try:
        places, found = _measure_all(given.only, sizes)
        if given.only == list(subjects()):
            found += hanging_gateway(sizes)
    except MeasurementFailed as error:
        print(f"FAILED  {error}", file=sys.stderr)
        return 1
    results = Results(header(places, "quick" if given.quick else "full"), [*found, *polling()])
    for title, columns in (
        ("Lateness", lateness_columns(results)),
        ("Rates", RATES),
        ("A worker is killed", WORKER_KILLED),
        ("The server is killed", SERVER_KILLED),
        ("The shop's orders without an attempt to pay", HANGING),
    ):
        print(f"\n{title}\n{plain(lines(results, columns))}")
    print(f"\n{time.perf_counter() - begun:.0f} s")
    if faults := wrong(results):
        print("\n".join(f"WRONG  {fault}" for fault in faults), file=sys.stderr)
        return 1
    if given.json == RESULTS and len(places) < len(given.only):
        print("Nothing is written: the pages tell of every mechanism. Install what was left out.", file=sys.stderr)
        return 1
    if given.json:
        results.write(given.json)
    if given.json == RESULTS:
        chart.FILE.write_text(chart.svg(results), encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    names = list(subjects())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"mechanisms: {', '.join(repr(name) for name in names)}\n\n"
        "examples:\n"
        "  make bench                                  all, in about fifteen minutes; writes results, chart and pages\n"
        "  make bench QUICK=1                          the short form: says whether all work, not how well\n"
        "  python -m benchmarks --only redis,sqlite    two of them, compared; nothing is written\n"
        "  python -m benchmarks --only postgresql --pending 1000000    lateness among a million\n"
        "  python -m benchmarks --json results.json    all of them, written elsewhere",
    )
    parser.add_argument("--quick", action="store_true", help="little work, several side by side: figures mean nothing")
    parser.add_argument("--only", default="", help="names of mechanisms, with commas between")
    parser.add_argument("--pending", default="", help="among how many pending orders, with commas between")
    parser.add_argument("--json", type=Path, help=f"write the rows there; {RESULTS.name} in results/ is the pages'")
    given = parser.parse_args()
    given.only = [name.strip() for name in given.only.split(",")] if given.only else names
    if unknown := [name for name in given.only if name not in names]:
        parser.error(f"there is no {', '.join(unknown)}: choose from {', '.join(names)}")
    try:
        given.pending = tuple(sorted(int(count) for count in given.pending.split(",") if count))
    except ValueError:
        parser.error("--pending takes numbers, such as 100000,1000000")
    given.json = given.json and given.json.absolute()
    if given.json == RESULTS and (given.quick or given.pending or given.only != names):
        parser.error("the pages tell of a full run with every mechanism: give another file to --json")
    return given


def _measure_all(names: Sequence[str], sizes: Sizes) -> tuple[dict[str, str], list[Row]]:
    """Return the server that each mechanism was measured on, and all rows."""
    begun = time.perf_counter()

    def sayer(name: str) -> Say:
        return lambda what: print(f"{time.perf_counter() - begun:6.1f} s  {name:<24} {what}", flush=True)

    def rates_of(name: str) -> tuple[str, list[Row]] | None:
        try:
            return rates(name, sizes, sayer(name))
        except NoServer as error:
            print(f"{LEFT_OUT}{error}", file=sys.stderr)
            return None

    with ThreadPoolExecutor(sizes.at_once) as pool:
        measured = {name: found for name, found in zip(names, pool.map(rates_of, names), strict=True) if found}
    with ThreadPoolExecutor(sizes.crashes_at_once) as pool:
        crashed = list(pool.map(lambda name: crashes(name, sizes, sayer(name)), measured))
    places = {name: about for name, (about, _) in measured.items()}
    return places, [row for found in [*(found for _, found in measured.values()), *crashed] for row in found]


def wrong(results: Results) -> list[str]:
    """Return what no mechanism of Lapse may do: lose an order, or do its effects twice. An early one fails at once."""
    ours = [row for row in results.rows if row.mechanism != NAIVE]
    none_of = ("never cancelled", "effects doubled")
    lost = [row for row in ours if row.value is None or (row.value and row.measurement.endswith(none_of))]
    return [f"{row.mechanism}: {row.measurement}: {row.value or 'never'}" for row in lost]


if __name__ == "__main__":
    sys.exit(main())
