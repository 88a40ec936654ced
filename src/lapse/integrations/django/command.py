"""The base class of the commands: it prints errors in one line. And the types of their options."""

import logging
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from lapse.engine.errors import LapseError
from lapse.engine.visible import one_line
from lapse.integrations.django.checks.rehearsal import rehearse
from lapse.integrations.django.rows.db_errors import first_line, lacks_table
from lapse.integrations.django.unpaid_orders import UnpaidOrders
from lapse.observability import VisibleFormatter, quiet_libraries

log = logging.getLogger("lapse")


class LapseCommand(BaseCommand):
    """A command that prints an expected error as one line on standard error and exits with code 1.

    Expected errors are a wrong setting, a missing library, and a timer or a database that refuses or does not answer.
    Django's `--traceback` shows the traceback.
    """

    def execute(self, *args: Any, **options: Any) -> str | None:  # noqa: ANN401 - Django's signature
        """Run Django's checks and then the command; return its output, if any."""
        quiet_libraries()
        try:
            return super().execute(*args, **options)
        except LapseError as error:
            raise CommandError(one_line(error)) from error
        except Error as error:
            advice = "; run manage.py migrate, or correct DATABASES" if lacks_table(error) else ""
            raise CommandError(f"the database refused: {one_line(first_line(error))}{advice}") from error

    def rehearse(self, orders: UnpaidOrders[Any]) -> None:
        """Log what the rehearsal warns of. Raises CommandError, with a line for each error that it found."""
        orders.port().overdue(1)  # so that a database that is away or not migrated is one line, in its own words
        errors = []
        for message in rehearse(orders):
            line = one_line(f"{message.id}: {message.msg} {message.hint or ''}")
            if message.is_silenced():
                continue
            if message.is_serious():
                errors.append(line)
            else:
                log.warning(line)
        if errors:
            raise CommandError("\n".join(errors))


def log_to_standard_error() -> None:
    """Send Lapse's log to standard error if the shop's settings configure no handler for it.

    The root logger stays as it is: otherwise every library of the shop would write its info lines between Lapse's.
    """
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(VisibleFormatter())
        log.addHandler(handler)
        log.setLevel(logging.INFO)


def positive_int(text: str) -> int:
    """Return the number. Raises ArgumentTypeError, which says what is wrong with the text."""
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"must be a whole number; got {text!r}") from None
    if number <= 0:
        raise ArgumentTypeError(f"must be greater than 0; got {text}")
    return number


def positive_seconds(text: str) -> float:
    """Return the number of seconds. Raises ArgumentTypeError, which says what is wrong with the text."""
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"must be a number of seconds; got {text!r}") from None
    if not 0 < number <= MOST_SECONDS:  # also refuses NaN
        raise ArgumentTypeError(f"must be greater than 0 and at most {MOST_SECONDS:,}; got {text}")
    return number


MOST_SECONDS = 86_400
"""One day, the longest time that an option of the worker accepts."""
