"""Step two: orders whose attempts are being closed at their gateways, and step three when the rulings are there."""

import logging
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.errors import TryLater
from lapse.orders.calls import GatewayCalls
from lapse.orders.cooldown import Cooldown
from lapse.orders.flight import Closer, Done, Flight, Passenger, is_paid
from lapse.orders.gateway import Attempt, ClosingGateway, Ruling, Verdict, about
from lapse.orders.isolate import Isolated, isolate
from lapse.orders.port import Outcome, Result

log = logging.getLogger("lapse")

ASK_AGAIN = Backoff(first=timedelta(seconds=1), most=timedelta(minutes=1))
"""How long an order waits whose gateway gave no clear answer. A circuit that is open may make it wait longer."""

MARGIN = timedelta(seconds=1)
"""An order that a call is closing is looked at again so long after the budget of the call. If this process dies in
between, the timer hands the order out again then."""

SOON = timedelta(milliseconds=200)
"""The shortest time after which to try again."""


class Closing:
    """Closes the attempts of orders by `calls`, and runs step three. One object per process, which many threads share.

    * An order whose attempts are being closed is not asked about again meanwhile. After an unclear answer it waits by
      `backoff`.
    * If the rulings come while the caller waits, step three runs in the caller's thread. Otherwise it runs in the
      thread of the gateway that answered last. Orders whose rulings come while another step three runs share one
      transaction.
    * A PAID ruling goes to step three at once, without waiting for other gateways, and however late it is.
    * If step three raises, no money is lost: the attempt stays open in the shop's records, and is asked about again.
    """

    def __init__(self, calls: GatewayCalls, *, backoff: Backoff = ASK_AGAIN, clock: Clock = SYSTEM_CLOCK) -> None:
        self.calls = calls
        self._backoff = backoff
        self._clock = clock
        self._by_process: dict[int, _Process] = {}

    def close(
        self, attempts: Iterable[Attempt], closer: Closer, *, wait: timedelta = timedelta(0), insist: bool = False
    ) -> dict[str, Result]:
        """Close the attempts and run step three for their orders; wait for at most `wait` in all.

        Return the result of each order. UNANSWERED: there is no clear answer yet, and `due_in` says when to try again;
        if a call is under way, step three follows in the background. An order that is being closed already, or that
        waits after an unclear answer, is UNANSWERED at once. With `insist` the call joins the first, and asks again for
        the second. Raises the errors of step three if it runs in the caller's thread.
        """
        by_order: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in attempts:
            by_order[attempt.order_key].append(attempt)
        own = self._own()
        new: list[Flight] = []
        mine: dict[str, tuple[Flight, Passenger]] = {}
        cooldown = own.cooldowns[closer.scope]
        with own.changed:
            for key, of_order in by_order.items():
                flight = own.flights.get((closer.scope, key))
                if not insist and (flight is not None or not cooldown.ready(key)):
                    continue
                if flight is None:
                    flight = own.flights[closer.scope, key] = Flight(closer.scope, key, of_order)
                    new.append(flight)
                mine[key] = flight, flight.board(closer, waits=wait > timedelta(0))
        for flight in new:
            for attempt in flight.attempts:
                self._call(own, flight, attempt, closer.gateways)
        results = self._wait(own, mine, closer, wait) if wait > timedelta(0) else {}
        for key, of_order in by_order.items():
            if key not in results or results[key].outcome is Outcome.UNANSWERED:
                results[key] = self._unanswered(own, closer.scope, key, of_order)
        return results

    def drain(self, within: float) -> bool:
        """Wait until no call is under way, for at most so many seconds. Return whether all have ended."""
        return self.calls.drain(within)

    def _own(self) -> "_Process":
        pid = os.getpid()
        if (own := self._by_process.get(pid)) is None:
            own = self._by_process.setdefault(pid, _Process(self._backoff, self._clock))
        return own

    def _call(self, own: "_Process", flight: Flight, attempt: Attempt, gateways: Mapping[str, ClosingGateway]) -> None:
        unknown = Ruling(attempt, Verdict.UNKNOWN)
        gateway = gateways.get(attempt.gateway)
        if gateway is None:
            log.error(
                "no gateway named %r to close attempt %s, so the order stays held: add it to `gateways`",
                attempt.gateway,
                attempt.reference,
            )
            self._answered(own, flight, unknown, asked=True)
            return

        def close() -> Ruling:
            flight.asked = True
            return about(attempt, gateway.close(attempt))

        future = self.calls.submit(attempt, close, unknown=unknown)
        future.add_done_callback(lambda done: self._answered(own, flight, done.result()))

    def _answered(self, own: "_Process", flight: Flight, ruling: Ruling, *, asked: bool = False) -> None:
        """Record the ruling. If step three can run now, run it for those who do not wait."""
        with own.changed:
            flight.rulings.append(ruling)
            flight.asked |= asked
            if not flight.ready:
                return
            if flight.complete:
                own.flights.pop((flight.scope, flight.key), None)
            rulings = list(flight.rulings)
            passengers = [each for each in flight.passengers if not each.waits]
            own.changed.notify_all()
        for passenger in passengers:
            self._in_background(own, passenger.closer, flight, rulings)

    def _wait(
        self, own: "_Process", mine: Mapping[str, tuple[Flight, Passenger]], closer: Closer, wait: timedelta
    ) -> dict[str, Result]:
        """Wait for the rulings, run step three for those that came, and return its results. Leave the others alone."""
        ready: list[Ruling] = []
        with own.changed:
            own.changed.wait_for(lambda: all(flight.ready for flight, _ in mine.values()), wait.total_seconds())
            for flight, passenger in mine.values():
                if flight.ready and flight.asked:
                    ready += flight.rulings
                if not flight.complete:
                    flight.leave_to_background(passenger)
        results = dict(closer.orders.finish(ready)) if ready else {}
        own.record(closer.scope, results)
        return results

    def _in_background(self, own: "_Process", closer: Closer, flight: Flight, rulings: list[Ruling]) -> None:
        """Run step three in this thread, together with others that are ready; or leave it to a thread that does so."""
        ready = _Ready(flight.key, rulings, closer)
        if not flight.asked:  # no gateway was called, so there is nothing to record
            self._report([ready], Isolated({flight.key: Result(Outcome.UNANSWERED)}))
            return
        if is_paid(rulings):  # not together with others: they may wait for locks
            self._finish(own, [ready])
            return
        batch_of = id(closer.orders)
        with own.changed:
            if (batch := own.batches.get(batch_of)) is not None:
                batch.append(ready)
                return
            batch = own.batches[batch_of] = [ready]
        while batch:
            with own.changed:
                batch, own.batches[batch_of] = own.batches[batch_of], []
                if not batch:
                    del own.batches[batch_of]
            self._finish(own, batch)

    def _finish(self, own: "_Process", batch: "Sequence[_Ready]") -> None:
        """Run step three for the orders, which have the same `orders`, and report what became of each."""
        if not batch:
            return
        rulings = {ready.key: ready.rulings for ready in batch}
        closer = batch[0].closer
        try:
            isolated = isolate(
                lambda keys: closer.orders.finish([ruling for key in keys for ruling in rulings[key]]), list(rulings)
            )
        except TryLater as error:
            log.warning("%d orders keep waiting, because the gateway's answers cannot be stored: %s", len(batch), error)
            isolated = Isolated(dict.fromkeys(rulings, Result(Outcome.UNANSWERED)))
        own.record(closer.scope, isolated.results)
        own.record(closer.scope, dict.fromkeys(isolated.failed, Result(Outcome.UNANSWERED)))
        self._report(batch, isolated)

    def _report(self, batch: "Sequence[_Ready]", isolated: Isolated) -> None:
        """Call `done` of each closer once, with what became of its orders."""
        keys: dict[Done, list[str]] = defaultdict(list)
        for ready in batch:
            if ready.closer.done is not None:
                keys[ready.closer.done].append(ready.key)
            elif (error := isolated.failed.get(ready.key)) is not None:
                log.error("order %s could not be lapsed after its gateway had answered", ready.key, exc_info=error)
        for done, of_closer in keys.items():
            results = {key: result for key, result in isolated.results.items() if key in of_closer}
            failed = {key: error for key, error in isolated.failed.items() if key in of_closer}
            try:
                done(Isolated(results, failed))
            except Exception:
                log.exception("what became of %d orders could not be reported; they are tried again", len(of_closer))

    def _unanswered(self, own: "_Process", scope: str, key: str, attempts: Sequence[Attempt]) -> Result:
        """Return the result of an order without a clear answer, with the time after which to try again."""
        closed = max(self.calls.wait_of(attempt.gateway) for attempt in attempts)  # before the look at the flights:
        with own.changed:  # it may end some
            in_flight = (scope, key) in own.flights
            wait = max(own.cooldowns[scope].left(key), closed)
        return Result(
            Outcome.UNANSWERED, due_in=self.calls.budget + MARGIN if in_flight else max(SOON, timedelta(seconds=wait))
        )


@dataclass(frozen=True, slots=True)
class _Ready:
    """An order whose rulings are there."""

    key: str
    rulings: list[Ruling]
    closer: Closer


class _Process:
    """What one process knows. A forked process begins with nothing: it has none of its parent's threads."""

    def __init__(self, backoff: Backoff, clock: Clock) -> None:
        self.changed = threading.Condition()
        self.flights: dict[tuple[str, str], Flight] = {}
        self.batches: dict[int, list[_Ready]] = {}
        self.cooldowns: dict[str, Cooldown] = defaultdict(lambda: Cooldown(backoff, clock))

    def record(self, scope: str, results: Mapping[str, Result]) -> None:
        """Let the orders without a clear answer wait before the next try, longer each time."""
        with self.changed:
            for key, result in results.items():
                self.cooldowns[scope].record(key, result)
            self.cooldowns[scope].drop_expired()
