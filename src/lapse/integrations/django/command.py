"""What the three commands share: errors in one line, and numbers that are checked."""

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from lapse.engine.errors import LapseError
from lapse.integrations.django.db_errors import one_line
from lapse.observability import quiet_libraries


class LapseCommand(BaseCommand):
    """A command whose errors are one line on standard error with exit code 1, unless it is a bug.

    That is so for a wrong setting, a missing library, a timer or a database that refuses or does not answer. Django's
    `--traceback` shows more.
    """

    def execute(self, *args: Any, **options: Any) -> str | None:  # noqa: ANN401 - Django's signature
        """Check the set-up, as Django does, and run the command; return its output, if any."""
        quiet_libraries()
        try:
            return super().execute(*args, **options)
        except LapseError as error:
            raise CommandError(one_line(error)) from error
        except Error as error:
            raise CommandError(f"the database refused: {one_line(error)}") from error


def positive_int(text: str) -> int:
    """Return the number; ArgumentTypeError says what is wrong with the text."""
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"must be a whole number; got {text!r}") from None
    if number <= 0:
        raise ArgumentTypeError(f"must be greater than 0; got {text}")
    return number


def positive_seconds(text: str) -> float:
    """Return the number of seconds; ArgumentTypeError says what is wrong with the text."""
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"must be a number of seconds; got {text!r}") from None
    if not 0 < number <= MOST_SECONDS:  # also refuses NaN
        raise ArgumentTypeError(f"must be greater than 0 and at most {MOST_SECONDS:,}; got {text}")
    return number


MOST_SECONDS = 86_400
"""A day: no time of a worker is longer."""
