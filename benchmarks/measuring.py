"""Every measurement of one subject, in turn, on servers that are started for it alone."""

from collections.abc import Callable, Iterable, Iterator
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
from benchmarks.scene import MeasurementFailed, NoServer, TooLate
from benchmarks.sizes import Sizes
from benchmarks.subjects import NAIVE, Subject, subjects
from lapse.engine.errors import MissingLibrary
from lapse.testing.servers import ServerFailed

TRIES = 4
"""Each try has twice the lead of the try before."""

Say = Callable[[str], None]
Measured = Callable[[Subject, Sizes, float], Iterator[Figure]]


def rates(name: str, sizes: Sizes, say: Say) -> tuple[str, list[Row]]:
    """Return the server that one subject is on, and its figures of lateness, arming, weight and bursts.

    Raises MeasurementFailed, with the subject's name, where a figure cannot be measured; NoServer where its server is
    not installed.
    """
    sizes = _for(name, sizes)
    with _named(name):
        with _subject(name) as subject:
            about = subject.place.about()
            figures = list(_among_pending(subject, sizes, say))
        say(f"up to {sizes.burst:,} at one instant")
        figures += _in_time(sizes, partial(_alone, name, draining, sizes))
    return about, _rows(name, figures)


def crashes(name: str, sizes: Sizes, say: Say) -> list[Row]:
    """Return one subject's figures of crashes, each on a new server. Raises what `rates` raises."""
    sizes = _for(name, sizes)
    figures: list[Figure] = []
    with _named(name):
        for what, measured in (("a worker is killed", killed_worker), ("the server is killed", killed_server)):
            say(what)
            figures += _in_time(sizes, partial(_alone, name, measured, sizes))
    return _rows(name, figures)


def _for(name: str, sizes: Sizes) -> Sizes:
    return replace(sizes, patience=sizes.naive_patience) if name == NAIVE else sizes


def _rows(name: str, figures: Iterable[Figure]) -> list[Row]:
    return [Row(name, what, rounded(value), unit, about) for what, value, unit, about in figures]


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except MeasurementFailed as error:
        raise type(error)(f"{name}: {error}") from error


def _among_pending(subject: Subject, sizes: Sizes, say: Say) -> Iterator[Figure]:
    """Yield how late orders are among more and more orders of a far future, and how quickly these are armed."""
    have = 0
    filled: list[Figure] = []
    for pending in sizes.pending:
        say(f"arming, then lateness among {pending:,}")
        filled = list(fill(subject, have, pending - have))
        have = pending
        subject.place.analyse()
        yield from _in_time(sizes, partial(lateness, subject, sizes, pending))
    yield from filled
    say("arming one by one")
    yield from one_by_one(subject, sizes)


def _in_time(sizes: Sizes, measured: Callable[[float], Iterable[Figure]]) -> list[Figure]:
    """Return what was measured, at a further try with a longer lead if the machine was too slow for the lead before."""
    for attempt in range(TRIES):
        try:
            return list(measured(sizes.lead * 2**attempt))
        except TooLate:
            continue
    raise MeasurementFailed(f"nothing was ready within {sizes.lead * 2 ** (TRIES - 1):g} s")


def _alone(name: str, measured: Measured, sizes: Sizes, lead: float) -> list[Figure]:
    """Return what was measured on a new server, for each try: not every mechanism can take back what it armed."""
    with _subject(name) as subject:
        return list(measured(subject, sizes, lead))


@contextmanager
def _subject(name: str) -> Iterator[Subject]:
    start, make = subjects()[name]
    with TemporaryDirectory(prefix="lapse-bench-") as folder:
        try:
            place = start(Path(folder))
        except (MissingLibrary, ServerFailed) as error:
            raise NoServer(str(error)) from error
        with closing(place):
            yield make(place)
