"""`lapse stats`: the counts of one timer, once or repeatedly."""

from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lapse.cli.arguments import Json, Name, OfPrefix, Url, open_timer, span, timer_name, write_json
from lapse.cli.known_name import require_known
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import LATEST
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import Stats, Timer
from lapse.engine.visible import one_line


def stats(
    url: Url,
    *,
    name: Name = "orders",
    prefix: OfPrefix = "",
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two counts, with --watch.")] = 1.0,
    json: Json = False,
) -> None:
    """Show how many deadlines are pending, due, claimed and buried, and how late the oldest is.

    A name that no timer on the server has is exit code 2, with the names that exist.

    [bold]Examples[/bold]

    lapse stats redis://localhost:6379/0

    lapse stats redis://localhost:6379/0 --name orders --watch --json
    """
    with open_timer(url, name=timer_name(name, prefix)) as timer:
        if not watch:
            counts = timer.stats()
            if not (counts.pending or counts.claimed or counts.buried):
                require_known(timer)
            _show(timer, counts, json=json)
            return
        with suppress(TimerUnavailable):  # the loop waits for the server
            require_known(timer)
        try:
            _watch(timer, every, json=json)
        except KeyboardInterrupt:
            return


def _watch(timer: Timer, every: float, *, json: bool) -> None:
    away = False
    while True:
        try:
            _show(timer, timer.stats(), json=json)
            away = False
        except TimerUnavailable as error:
            if not away:  # reported once, not once a second
                typer.echo(f"lapse: {one_line(error)}; trying again until the server answers", err=True)
            away = True
        SYSTEM_CLOCK.sleep(every)


def _show(timer: Timer, counts: Stats, *, json: bool) -> None:
    if json:
        write_json(as_document(timer, counts))
        return
    table = Table(title=f"{timer.name} on {timer.traits.mechanism}, {counts.now:%H:%M:%S} UTC", show_header=False)
    unknown = "none" if timer.traits.exact_stats else "unknown with this mechanism"
    for label, value in {
        "pending": f"{counts.pending:,}",
        "of these due": f"{counts.due:,}",
        "claimed": f"{counts.claimed:,}",
        "buried": f"{counts.buried:,}",
        "oldest due": f"{span(counts.now - counts.oldest_due)} late" if counts.oldest_due else unknown,
        "next due": _next(counts, unknown),
    }.items():
        table.add_row(label, value)
    Console().print(table)


def _next(counts: Stats, unknown: str) -> str:
    if counts.next_due is None:
        return unknown
    return "after the year 9999" if counts.next_due >= LATEST else f"in {span(counts.next_due - counts.now)}"


def as_document(timer: Timer, counts: Stats) -> dict[str, Any]:
    """Return the counts for JSON. `late_seconds` is how long the oldest deadline has been due; null if unknown."""
    nothing_late = 0.0 if timer.traits.exact_stats or not counts.due else None
    late = (counts.now - counts.oldest_due).total_seconds() if counts.oldest_due else nothing_late
    return {"name": timer.name, "mechanism": timer.traits.mechanism, **asdict(counts), "late_seconds": late}
