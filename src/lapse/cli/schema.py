"""`lapse schema`: shows the statements that make the table of a timer in SQL, or runs them."""

from typing import Annotated, cast

import typer

from lapse.cli.arguments import Url, open_timer
from lapse.engine.errors import ConfigError
from lapse.engine.timer import Timer, TransactionalTimer


def schema(
    url: Url,
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Make the table, instead of showing the statements.")] = False,
) -> None:
    """Show the SQL that makes a timer's table, for a role that may create tables. No server is contacted.

    A timer makes its table by itself on first use. Where its role may not, run this SQL in one transaction as a role
    that may, or give --apply a URL with such a role. Both do no harm where the table exists.

    [bold]Examples[/bold]

    lapse schema postgresql://localhost/shop

    lapse schema postgresql://owner@localhost/shop --apply
    """
    with open_timer(url, name="orders") as timer:
        statements = _of(timer).schema()
        if not apply:
            typer.echo("\n\n".join(f"{statement};" for statement in statements))
            return
        timer.stats()  # any call makes it
    typer.echo("The table lapse_deadline is there.")


def _of(timer: Timer) -> TransactionalTimer:
    if not timer.traits.transactional:
        raise ConfigError(f"a timer by {timer.traits.mechanism} has no table: there is nothing to make")
    return cast(TransactionalTimer, timer)
