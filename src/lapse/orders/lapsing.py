"""The only transition from unpaid to cancelled. The worker, the sweep, reads, commands and persons all use it."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import timedelta

from lapse.engine.deadline import Claim, to_milliseconds
from lapse.engine.decision import Decision, Move, Release
from lapse.orders.calls import GatewayCalls
from lapse.orders.closing import Closing
from lapse.orders.flight import Closer, Done
from lapse.orders.gateway import ClosingGateway
from lapse.orders.isolate import Isolated
from lapse.orders.port import Orders, Outcome, Result

LOCKED_DELAY = timedelta(milliseconds=50)
"""The delay before a locked order is tried again. A payment holds the row's lock for about as long."""

UNANSWERED = "no clear answer of the gateway yet"
"""The reason with which a claim is released while the order's attempts are being closed."""


class Lapsing:
    """Lapses orders in three steps, each of which may be repeated after a crash.

    1. In a transaction: due, unpaid orders without an open attempt are cancelled; orders with one become closing.
    2. Outside of any transaction: every open attempt is closed at its gateway, in threads of that gateway.
    3. In a transaction: the transition that the gateways' rulings decide.

    `gateways` maps each name that `Attempt.gateway` may have to its gateway. `closing` carries out step two; objects
    that share it do not close the attempts of one order twice at the same time. `scope` tells the orders of one shop
    from another shop's in a shared `closing`. `cause` is equal for objects that cancel for the same reason.

    With `insist`, an order is asked about again although the last answer was unclear a moment ago: for a person.
    """

    def __init__(
        self,
        orders: Orders,
        gateways: Mapping[str, ClosingGateway] | None = None,
        *,
        closing: Closing | None = None,
        scope: str = "",
        cause: Hashable = None,
        insist: bool = False,
    ) -> None:
        self.orders = orders
        self.closing = closing or Closing(GatewayCalls())
        self._gateways = gateways or {}
        self.scope = scope
        self._cause = cause
        self._insist = insist
        self._failed: dict[str, Exception] = {}

    def lapse(
        self, keys: Sequence[str], *, wait: timedelta | None = None, done: Done | None = None
    ) -> dict[str, Result]:
        """Lapse the orders that are unpaid and due; return the result of every order.

        Waits for gateways for at most `wait` in all; None: for the budget of one call. An order whose gateway has not
        answered by then is UNANSWERED. Its call goes on, and step three follows in the gateway's thread: then `done`
        receives what became of the order.

        Every key is in the results once. Errors of the database are passed on, and the call may be repeated.
        """
        begun = self.orders.begin(keys)
        results = dict(begun.results)
        if begun.attempts:
            closer = Closer(self.orders, self._gateways, self.scope, self._cause, done)
            wait = self.closing.calls.budget if wait is None else wait
            results.update(self.closing.close(begun.attempts, closer, wait=wait, insist=self._insist))
        return results

    def handle(self, claims: list[Claim], done: Done | None = None) -> dict[str, Decision]:
        """Lapse the claimed orders and return the decision on each claim. This is the handler to give to `Worker`.

        Never waits for a gateway: the claim of an order with an open attempt is released, uncounted, until a time at
        which the gateway should have answered. `done` receives what became of such an order. If step three failed in
        the background, the next claim of the order is released with the error and counts as an attempt.
        """
        armed_for = {claim.key: claim.due_at for claim in claims}
        decisions: dict[str, Decision] = {
            key: Release(reason=f"{type(error).__name__}: {error}")
            for key in armed_for
            if (error := self._failed.pop(key, None)) is not None
        }
        keys = [key for key in armed_for if key not in decisions]
        results = self.lapse(keys, wait=timedelta(0), done=self._remembering(done)) if keys else {}
        for key, result in results.items():
            match result.outcome:
                case Outcome.NOT_DUE | Outcome.POSTPONED if result.due_at is not None and result.due_in is not None:
                    # The deadline is the same in the timer and in the database, so the timer's clock is ahead. Armed
                    # again, the deadline would fire at once.
                    same = to_milliseconds(result.due_at) == to_milliseconds(armed_for[key])
                    decisions[key] = Release(result.due_in, forgive=True) if same else Move(result.due_at)
                case Outcome.LOCKED:
                    decisions[key] = Release(LOCKED_DELAY, forgive=True)
                case Outcome.UNANSWERED:
                    again = result.due_in or self.closing.calls.budget
                    decisions[key] = Release(again, forgive=True, reason=UNANSWERED)
                case _:
                    pass  # finished, now or earlier: settled
        return decisions

    def _remembering(self, done: Done | None) -> Done:
        """Return a function that keeps the errors for the next claims of these orders, and calls `done`."""

        def remember(isolated: Isolated) -> None:
            self._failed.update(isolated.failed)
            for key in isolated.results:
                self._failed.pop(key, None)
            if done is not None:
                done(isolated)

        return remember
