"""The application that contains all commands."""

from typing import Annotated, Any

import typer

import lapse
from lapse.cli import buried
from lapse.cli.check import check
from lapse.cli.schema import schema
from lapse.cli.stats import stats
from lapse.cli.watch import watch
from lapse.cli.worker import worker
from lapse.engine.errors import ConfigError

WRONG: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "UsageError")
"""The base class of errors in the command line. Some versions of typer have a class of their own, others click's."""

app = typer.Typer(
    name="lapse",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback means a bug in Lapse, so it is shown in Python's form
    rich_markup_mode="rich",
)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"lapse {lapse.__version__}")
        raise typer.Exit


@app.callback(epilog="You can also set the timer's URL in LAPSE_TIMER.")
def about(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=lambda wanted: _version(wanted=wanted), is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Cancel unpaid orders on time, once, and make their stock available again, even when processes crash.

    [bold]Examples[/bold]

    lapse check redis://localhost:6379/0

    lapse worker redis://localhost:6379/0 --handler shop.lapsing:orders

    lapse watch redis://localhost:6379/0 --prefix nick_ --post https://shop.example/payment/cancel_order/

    lapse stats redis://localhost:6379/0 --watch

    lapse buried list redis://localhost:6379/0
    """
    del version  # its callback has already printed the version


def run() -> int:
    """Run one command and return the exit code. Raises ConfigError for a wrong command line, in one sentence."""
    try:
        code = app(prog_name="lapse", standalone_mode=False)
    except WRONG as error:
        message = error.format_message().rstrip(".")
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help, which may be printed already
            typer.echo(message, nl=bool(message), err=True)
            return int(error.exit_code)
        path = error.ctx.command_path if error.ctx else "lapse"
        raise ConfigError(f"{message}; '{path} --help' lists what there is") from None
    return code if isinstance(code, int) else 0


app.command()(worker)
app.command()(watch)
app.command()(stats)
app.command()(check)
app.command()(schema)
app.add_typer(buried.app, name="buried")
