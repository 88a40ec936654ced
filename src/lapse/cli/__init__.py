"""The command `lapse`. Exit codes: 0 done, 1 server unavailable or unfit, 2 wrong input."""

import sys
from urllib.parse import urlsplit

from lapse.engine.errors import ConfigError, InvalidDeadline, LapseError, MissingLibrary
from lapse.engine.visible import one_line
from lapse.observability import quiet_libraries


def main() -> None:
    """Run one command. Every error of Lapse is one line on standard error without a traceback."""
    quiet_libraries()
    try:
        try:
            from lapse.cli.app import run  # noqa: PLC0415 - typer and rich are an extra
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in {"typer", "rich"}:
                raise
            raise MissingLibrary("the command lapse", "cli") from error
        sys.exit(run())
    except (ConfigError, InvalidDeadline) as error:
        _fail(error, 2)
    except LapseError as error:
        _fail(error, 1)


def _fail(error: LapseError, code: int) -> None:
    """Print the message and exit. Passwords of URLs among the arguments are replaced by stars."""
    message = str(error)
    for word in (*sys.argv, *message.split()):
        if "://" in word and (password := _password(word)):
            message = message.replace(f":{password}@", ":***@")
    sys.stderr.write(f"lapse: {one_line(message)}\n")
    sys.exit(code)


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None
