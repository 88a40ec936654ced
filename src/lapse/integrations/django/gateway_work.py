"""What calls a shop's gateways in one process: for lapses, for reads, and for persons' cancels until they succeed."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice

from django.db import connections

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.orders.calls import GatewayCalls
from lapse.orders.closing import SOON, Closing
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Outcome, Result
from lapse.orders.retries import Retries
from lapse.orders.service_options import BATCH

UNDECIDED = (Outcome.UNANSWERED, Outcome.LOCKED)
"""The outcomes after which a person's cancel is tried again."""


class GatewayWork:
    """Waits for gateways within one limit, and tries persons' cancels again. One per `UnpaidOrders` object."""

    def __init__(self) -> None:
        self.closing = Closing(GatewayCalls(after_call=connections.close_all))
        self._retries = Retries(after=connections.close_all)

    def lapse(self, lapsing: Lapsing, keys: Iterable[str], *, wait: timedelta | None = None) -> dict[str, Result]:
        """Lapse the orders in batches, so that no transaction is large. Return the result for each key.

        Waits for gateways for at most `wait` in all batches together; None: for the budget of one call.
        """
        left = iter(dict.fromkeys(keys))
        remaining = _countdown(self.closing.calls.budget if wait is None else wait)
        results: dict[str, Result] = {}
        while part := list(islice(left, BATCH)):
            results.update(lapsing.lapse(part, wait=remaining()))
        return results

    def within(self, wait: timedelta, lapsing: Callable[[], Lapsing]) -> Callable[[Sequence[str]], dict[str, Result]]:
        """Return a function that lapses orders and waits for gateways for at most `wait` in all of its calls."""
        remaining = _countdown(wait)
        return lambda keys: self.lapse(lapsing(), keys, wait=remaining())

    def cancel(self, lapsing: Lapsing, keys: Iterable[str], *, again: Lapsing) -> dict[str, Result]:
        """Cancel the orders for a person, and return the result for each key.

        An order that no gateway has decided is tried again by `again` in the background, until it is cancelled, paid or
        no longer closing. That ends with the process.
        """
        results = self.lapse(lapsing, keys)
        for key, result in results.items():
            if result.outcome in UNDECIDED:
                self._retries.add((lapsing.scope, key), partial(_try_again, again, key), result.due_in or SOON)
        return results


def _try_again(lapsing: Lapsing, key: str) -> timedelta | None:
    """Cancel the order without waiting. Return None if it is decided, and otherwise how long to wait."""
    result = lapsing.lapse([key], wait=timedelta(0))[key]
    return (result.due_in or SOON) if result.outcome in UNDECIDED else None


def _countdown(wait: timedelta) -> Callable[[], timedelta]:
    """Return a function that returns how much of the time is left."""
    end = SYSTEM_CLOCK.monotonic() + wait.total_seconds()
    return lambda: timedelta(seconds=max(0.0, end - SYSTEM_CLOCK.monotonic()))
