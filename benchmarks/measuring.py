"""Every measurement of one subject, in turn, on servers that are started for it alone."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.arming import fill, one_by_one
from benchmarks.draining import draining
from benchmarks.killed_server import killed_server
from benchmarks.killed_worker import killed_worker
from benchmarks.lateness import Figure, lateness
from benchmarks.rows import Row, rounded
from benchmarks.scene import MeasurementFailed, TooLate
from benchmarks.sizes import Sizes
from benchmarks.subjects import NAIVE, Subject, subjects

TRIES = 4
"""Each with twice the lead of the one before."""

Say = Callable[[str], None]


def measure(name: str, sizes: Sizes, say: Say) -> tuple[str, list[Row]]:
    """Say on which server one subject is, and give all its figures.

    Raises MeasurementFailed, with its name, where one cannot be had.
    """
    if name == NAIVE:
        sizes = replace(sizes, patience=sizes.naive_patience)
    try:
        with _subject(name) as subject:
            about = subject.place.about()
            figures = list(_among_pending(subject, sizes, say))
        # Each of these begins on a server that has seen nothing.
        for what, measured in (
            (f"{sizes.burst:,} at one instant", draining),
            ("a worker is killed", killed_worker),
            ("the server is killed", killed_server),
        ):
            say(what)
            with _subject(name) as subject:
                figures += _in_time(sizes, partial(measured, subject, sizes))
    except MeasurementFailed as error:
        raise MeasurementFailed(f"{name}: {error}") from error
    return about, [Row(name, what, rounded(value), unit, of) for what, value, unit, of in figures]


def _among_pending(subject: Subject, sizes: Sizes, say: Say) -> Iterator[Figure]:
    """Fill it with orders of a far future, more and more, and see how late the others are among these."""
    have = 0
    filled: list[Figure] = []
    for pending in sizes.pending:
        say(f"arming, then lateness among {pending:,}")
        filled = list(fill(subject, have, pending - have))
        have = pending
        yield from _in_time(sizes, partial(lateness, subject, sizes, pending))
    yield from filled
    say("arming one by one")
    yield from one_by_one(subject, sizes)


def _in_time(sizes: Sizes, measured: Callable[[float], Iterator[Figure]]) -> list[Figure]:
    """Measure, again with a longer lead where the machine was too slow for the one before."""
    for attempt in range(TRIES):
        try:
            return list(measured(sizes.lead * 2**attempt))
        except TooLate:
            continue
    raise MeasurementFailed(f"nothing was ready within {sizes.lead * 2 ** (TRIES - 1):g} s")


@contextmanager
def _subject(name: str) -> Iterator[Subject]:
    start, make = subjects()[name]
    with TemporaryDirectory(prefix="lapse-bench-") as folder, closing(start(Path(folder))) as place:
        yield make(place)
