"""`lapse buried`: lists, revives or drops buried deadlines."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lapse.cli.arguments import Json, Name, OfPrefix, Url, open_timer, timer_name, write_json
from lapse.engine.timer import Timer

app = typer.Typer(no_args_is_help=True, help="Buried deadlines, which are not tried again: list, retry or drop them.")

MOST = 100_000

Keys = Annotated[list[str] | None, typer.Option("--key", help="Only this key; you can repeat the option.")]


@app.command("list")
def show(
    url: Url,
    *,
    name: Name = "orders",
    prefix: OfPrefix = "",
    limit: Annotated[int, typer.Option(min=1, help="The largest number to list.")] = 100,
    json: Json = False,
) -> None:
    """List buried deadlines, the longest buried first, each with the reason.

    [bold]Example[/bold]

    lapse buried list redis://localhost:6379/0 --json
    """
    with open_timer(url, name=timer_name(name, prefix)) as timer:
        found = timer.buried(limit)
    if json:
        write_json([asdict(buried) for buried in found])
        return
    if not found:
        typer.echo("Nothing is buried.")
        return
    table = Table("key", "was due", "attempts", "buried", "reason")
    for buried in found:
        due, since = f"{buried.due_at:%F %T}", f"{buried.buried_at:%F %T}"
        table.add_row(buried.key, due, str(buried.attempt), since, buried.reason)
    Console().print(table)


@app.command()
def retry(url: Url, *, name: Name = "orders", prefix: OfPrefix = "", key: Keys = None, json: Json = False) -> None:
    """Make all buried deadlines, or those named by --key, due at once, with attempts reset to 0.

    [bold]Example[/bold]

    lapse buried retry redis://localhost:6379/0 --key 1001 --key 1002

    lapse buried retry redis://localhost:6379/0 --prefix nick_
    """
    with open_timer(url, name=timer_name(name, prefix)) as timer:
        count = timer.revive(_chosen(timer, key))
    _report("revived", count, json=json)


@app.command()
def drop(
    url: Url,
    *,
    name: Name = "orders",
    prefix: OfPrefix = "",
    key: Keys = None,
    every: Annotated[bool, typer.Option("--all", help="All buried deadlines.")] = False,
    json: Json = False,
) -> None:
    """Drop the buried deadlines named by --key, or all with --all.

    This changes no order, and the sweep still finds unpaid orders.

    [bold]Example[/bold]

    lapse buried drop redis://localhost:6379/0 --key 1001
    """
    if bool(key) == every:
        raise typer.BadParameter("name keys with --key, or choose --all")
    with open_timer(url, name=timer_name(name, prefix)) as timer:
        # Disarm only buried keys. A key that was armed again at this moment is disarmed too; the sweep still finds its
        # order.
        chosen = _chosen(timer, key)
        timer.disarm(chosen)
    _report("dropped", len(chosen), json=json)


def _chosen(timer: Timer, keys: list[str] | None) -> list[str]:
    buried = [entry.key for entry in timer.buried(MOST)]
    return buried if not keys else [key for key in buried if key in set(keys)]


def _report(done: str, count: int, *, json: bool) -> None:
    if json:
        write_json({done: count})
    else:
        typer.echo(f"{count:,} {done}.")
