"""`lapse schema`: shows or runs the statements that create the table of a timer in SQL."""

from typing import Annotated, cast

import typer

from lapse.cli.arguments import Url, open_timer
from lapse.engine.errors import ConfigError
from lapse.engine.timer import Timer, TransactionalTimer


def schema(
    url: Url,
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Create the table instead of showing the statements.")] = False,
) -> None:
    """Show the SQL that creates a timer's table, for a role that may create tables. Contacts no server.

    A timer creates its table at its first use. If its role may not, run this SQL in one transaction as a role that may.
    Or use --apply with a URL of such a role. Both are harmless if the table exists.

    [bold]Examples[/bold]

    lapse schema postgresql://localhost/shop

    lapse schema postgresql://owner@localhost/shop --apply
    """
    with open_timer(url, name="orders") as timer:
        statements = _of(timer).schema()
        if not apply:
            typer.echo("\n\n".join(f"{statement};" for statement in statements))
            return
        timer.stats()  # any call creates the table
    typer.echo("The table lapse_deadline exists.")


def _of(timer: Timer) -> TransactionalTimer:
    if not timer.traits.transactional:
        raise ConfigError(f"a timer on {timer.traits.mechanism} has no table: there is nothing to create")
    return cast(TransactionalTimer, timer)
