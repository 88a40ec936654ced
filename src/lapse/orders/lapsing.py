"""The only transition from unpaid to cancelled. The worker, the sweep, reads, commands and persons all use it."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from lapse.engine.deadline import Claim, to_milliseconds
from lapse.engine.decision import Decision, Move, Release
from lapse.orders.gateway import Attempt, ClosingGateway, Ruling, Verdict
from lapse.orders.port import Orders, Outcome, Result

log = logging.getLogger("lapse")

LOCKED_DELAY = timedelta(milliseconds=50)
"""The delay before a locked order is tried again. A payment holds the row's lock for about as long."""


class Lapsing:
    """Lapses orders in three steps, each of which may be repeated after a crash.

    1. In a transaction: due, unpaid orders without an open attempt are cancelled; orders with one become closing.
    2. Outside of any transaction: every open attempt is closed at its gateway, many at once.
    3. In a transaction: the transition that the gateways' rulings decide.

    `gateways` maps each name that `Attempt.gateway` may have to its gateway. `threads` is the largest number of calls
    to gateways at once.
    """

    def __init__(
        self, orders: Orders, gateways: Mapping[str, ClosingGateway] | None = None, *, threads: int = 16
    ) -> None:
        self.orders = orders
        self._gateways = dict(gateways or {})
        self._threads = threads

    def lapse(self, keys: Sequence[str]) -> dict[str, Result]:
        """Lapse the orders that are unpaid and due; return the result of every order.

        Every key is in the results once. Errors of the database are passed on, and the call may be repeated.
        """
        begun = self.orders.begin(keys)
        results = dict(begun.results)
        if begun.attempts:
            results.update(self.orders.finish(self._close(begun.attempts)))
        return results

    def handle(self, claims: list[Claim]) -> dict[str, Decision]:
        """Lapse the claimed orders and return the decision on each claim. This is the handler to give to `Worker`."""
        decisions: dict[str, Decision] = {}
        armed_for = {claim.key: claim.due_at for claim in claims}
        for key, result in self.lapse(list(armed_for)).items():
            match result.outcome:
                case Outcome.NOT_DUE | Outcome.POSTPONED if result.due_at is not None and result.due_in is not None:
                    # The deadline is the same in the timer and in the database, so the timer's clock is ahead. Armed
                    # again, the deadline would fire at once.
                    same = to_milliseconds(result.due_at) == to_milliseconds(armed_for[key])
                    decisions[key] = Release(result.due_in, forgive=True) if same else Move(result.due_at)
                case Outcome.LOCKED:
                    decisions[key] = Release(LOCKED_DELAY, forgive=True)
                case Outcome.UNANSWERED:
                    decisions[key] = Release(reason="the gateway could not say whether the order was paid")
                case _:
                    pass  # finished, now or earlier: settled
        return decisions

    def _close(self, attempts: Sequence[Attempt]) -> list[Ruling]:
        # Every gateway call runs in a short-lived thread, even for a single attempt. So everything that the gateway
        # opened in the thread, such as a database connection, can be closed.
        with ThreadPoolExecutor(min(self._threads, len(attempts)), "lapse-gateway") as pool:
            return list(pool.map(self._close_one, attempts))

    def _close_one(self, attempt: Attempt) -> Ruling:
        gateway = self._gateways.get(attempt.gateway)
        if gateway is None:
            log.error(
                "no gateway named %r to close attempt %s, so the order stays held: add it to `gateways`",
                attempt.gateway,
                attempt.reference,
            )
            return Ruling(attempt, Verdict.UNKNOWN)
        try:
            return gateway.close(attempt)
        except Exception:
            log.exception("closing attempt %s at %s failed", attempt.reference, attempt.gateway)
            return Ruling(attempt, Verdict.UNKNOWN)
