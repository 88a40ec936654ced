"""`lapse stats`: the counts of one timer, once or repeatedly."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lapse.cli.arguments import Json, Name, OfPrefix, Url, open_timer, span, timer_name, write_json
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import Stats, Timer


def stats(
    url: Url,
    *,
    name: Name = "orders",
    prefix: OfPrefix = "",
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two counts, with --watch.")] = 1.0,
    json: Json = False,
) -> None:
    """Show how many deadlines are pending, due, claimed and buried, and how late the oldest is.

    [bold]Examples[/bold]

    lapse stats redis://localhost:6379/0

    lapse stats redis://localhost:6379/0 --name orders --watch --json
    """
    with open_timer(url, name=timer_name(name, prefix)) as timer:
        if not watch:
            _show(timer, timer.stats(), json=json)
            return
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
                typer.echo(f"lapse: {error}; it is asked again until it answers", err=True)
            away = True
        SYSTEM_CLOCK.sleep(every)


def _show(timer: Timer, found: Stats, *, json: bool) -> None:
    if json:
        write_json(as_document(timer, found))
        return
    table = Table(title=f"{timer.name} on {timer.traits.mechanism}, {found.now:%H:%M:%S} UTC", show_header=False)
    unknown = "none" if timer.traits.exact_stats else "this mechanism does not tell"
    for label, value in {
        "pending": f"{found.pending:,}",
        "of these due": f"{found.due:,}",
        "claimed": f"{found.claimed:,}",
        "buried": f"{found.buried:,}",
        "oldest due": f"{span(found.now - found.oldest_due)} late" if found.oldest_due else unknown,
        "next due": f"in {span(found.next_due - found.now)}" if found.next_due else unknown,
    }.items():
        table.add_row(label, value)
    Console().print(table)


def as_document(timer: Timer, found: Stats) -> dict[str, Any]:
    """Return the counts for JSON. `late_seconds` is how long the oldest has been due; null where that is unknown."""
    nothing_late = 0.0 if timer.traits.exact_stats or not found.due else None
    late = (found.now - found.oldest_due).total_seconds() if found.oldest_due else nothing_late
    return {"name": timer.name, "mechanism": timer.traits.mechanism, **asdict(found), "late_seconds": late}
