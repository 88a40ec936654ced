"""`lapse buried`: lists, revives or drops buried deadlines."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.cells import cell_len

from lapse.cli.arguments import Json, Name, OfPrefix, Url, open_timer, timer_name, write_json
from lapse.cli.known_name import require_known
from lapse.engine.deadline import Buried
from lapse.engine.errors import ConfigError
from lapse.engine.timer import Timer
from lapse.engine.visible import key_from, one_line, visible, visible_key

app = typer.Typer(no_args_is_help=True, help="Buried deadlines, which are not tried again: list, retry or drop them.")

MOST = 100_000

WIDE = 40
"""The widest column of keys on a terminal. A longer key is whole too, and moves the rest of its line."""

Keys = Annotated[
    list[str] | None, typer.Option("--key", help="Only this key, as `list` shows it; you can repeat the option.")
]


@app.command("list")
def show(
    url: Url,
    *,
    name: Name = "orders",
    prefix: OfPrefix = "",
    limit: Annotated[int, typer.Option(min=1, help="The largest number to list.")] = 100,
    json: Json = False,
) -> None:
    r"""List buried deadlines, the longest buried first, each in one line with the reason. Times are in UTC.

    Keys are whole, so that they can be copied for --key. Unprintable characters and backslashes are escaped, such as
    \n for a line end. With --json, keys are exact.

    [bold]Example[/bold]

    lapse buried list redis://localhost:6379/0 --json
    """
    with open_timer(url, name=timer_name(name, prefix)) as timer:
        found = timer.buried(limit)
        if not found:
            require_known(timer)
    if json:
        write_json([asdict(buried) for buried in found])
        return
    if not found:
        typer.echo("Nothing is buried.")
        return
    for line in _lines(found):
        typer.echo(line)


@app.command()
def retry(url: Url, *, name: Name = "orders", prefix: OfPrefix = "", key: Keys = None, json: Json = False) -> None:
    """Make all buried deadlines, or those named by --key, due at once, with attempts reset to 0.

    [bold]Example[/bold]

    lapse buried retry redis://localhost:6379/0 --key 1001 --key 1002

    lapse buried retry redis://localhost:6379/0 --prefix nick_
    """
    with open_timer(url, name=timer_name(name, prefix)) as timer:
        count = timer.revive(_chosen(timer, key))
        if not count:
            require_known(timer)
    _report("revived", count, json=json)
    if key and not count:
        raise typer.Exit(1)


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
        if not chosen:
            require_known(timer)
        timer.disarm(chosen)
    _report("dropped", len(chosen), json=json)
    if key and not chosen:
        raise typer.Exit(1)


def _lines(found: Sequence[Buried]) -> list[str]:
    """Return a header and a line for each deadline. Keys are not cut or folded, so that people can copy them."""
    keys = [visible_key(buried.key) for buried in found]
    width = min(WIDE, max(cell_len(key) for key in keys))
    lines = [_line("KEY", "WAS DUE", "ATTEMPTS", "BURIED", "REASON", width=width)]
    for key, buried in zip(keys, found, strict=True):
        due, since = f"{buried.due_at:%F %T}", f"{buried.buried_at:%F %T}"
        lines.append(_line(key, due, str(buried.attempt), since, one_line(buried.reason), width=width))
    return lines


def _line(key: str, due: str, attempts: str, since: str, reason: str, *, width: int) -> str:
    padding = " " * (width - cell_len(key))
    return f"{key}{padding}  {due:19}  {attempts:>8}  {since:19}  {reason}".rstrip()


def _chosen(timer: Timer, given: list[str] | None) -> list[str]:
    """Return the buried keys that were given, exactly or as `list` shows them; all buried keys if none was given."""
    buried = {entry.key for entry in timer.buried(MOST)}
    if not given:
        return sorted(buried)
    chosen = set()
    for text in given:
        found = {text, key_from(text)} & buried
        if len(found) > 1:
            one, other = (_spelled(key) for key in (text, key_from(text)))
            raise ConfigError(f"--key {visible(text)} means two buried keys: name them as {one} and {other}")
        if not found:
            typer.echo(f"lapse: {visible(text)} is not buried: `lapse buried list` shows what is", err=True)
        chosen |= found
    return sorted(chosen)


def _spelled(key: str) -> str:
    """Return the key with each special character spelled by its number, as no usual key looks."""
    return "".join(letter if letter.isprintable() and letter != "\\" else f"\\U{ord(letter):08x}" for letter in key)


def _report(done: str, count: int, *, json: bool) -> None:
    if json:
        write_json({done: count})
    else:
        typer.echo(f"{count:,} {done}.")
