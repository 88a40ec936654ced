"""Why orders are cancelled, and by whom; and the error for what a shop wrote against its own condition."""

from dataclasses import dataclass

from lapse.engine.errors import ConfigError

EXPIRED = "expired"
"""The reason of an order whose time to pay has ended."""

TIMER = "timer"
"""The actor of a lapse that no person requested: the worker, the sweep, or a read that finds an overdue order."""


class WrongTransition(ConfigError):
    """What the shop wrote does not fit its condition `unpaid`. The transaction was rolled back: nothing was changed.

    Either an order still counts as unpaid after it was cancelled or paid, so it would be cancelled again and its stock
    given back again. Or an order no longer counts as unpaid while its attempts are being closed, or after it was
    reopened.
    """


@dataclass(frozen=True, slots=True)
class Cause:
    """Why orders are cancelled, and by whom.

    A person's cancel takes every unpaid order, whether due or not, and waits for rows that another transaction has
    locked. The timer's lapse takes due orders only. It skips locked rows, because it is tried again later.

    With `resumes`, a person's cancel that no gateway has answered is repeated: it takes only orders that are closing
    for another reason than the timer's.

    With `on_read`, it is the timer's lapse of orders that a read or a sale has found.
    """

    reason: str = EXPIRED
    actor: str = TIMER
    person: bool = False
    resumes: bool = False
    on_read: bool = False


BY_TIMER = Cause()
ON_READ = Cause(on_read=True)
