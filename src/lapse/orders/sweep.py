"""The sweep: finds overdue orders independently of any timer, so that no order is lost if a wake-up is lost."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Deadline
from lapse.engine.errors import LapseError
from lapse.engine.events import KEYS_NAMED, Event, Hook, Kind, emit, log_event
from lapse.orders.cooldown import Cooldown
from lapse.orders.isolate import Isolated, isolate
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Outcome
from lapse.orders.repeating import Repeating

log = logging.getLogger("lapse")


@dataclass(slots=True)
class Swept:
    """The result of one sweep: the number of orders with each outcome, and the keys of orders that could not lapse.

    An order could not lapse if lapsing it raised, or if its row cannot be read.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    @property
    def lapsed(self) -> int:
        """How many orders this sweep lapsed."""
        return self.outcomes[Outcome.LAPSED]


class Sweep:
    """Lapses every overdue order, whether a timer knows it or not, and repeats this until stopped.

    * A sweep begins once per `every`, or up to a fifth earlier at random, so that many workers do not sweep at the same
      time. A sweep reads only the orders and depends on no earlier sweep.
    * A sweep takes `batch` orders at a time and pages through all of them once, so a failing order delays no other.
    * `grace` is how long after its deadline the sweep leaves an order to the timer.
    * An order whose lapse raises, or whose gateway does not answer, is tried again after `backoff`, which grows. An
      order that the shop postponed is tried again at the time that the shop named, or after 15 minutes.
    * `wait` is how long the sweep waits for gateways at each page; None: for the budget of one call. An order whose
      gateway has not answered by then counts as unanswered; it is finished in the background when the answer comes.
    * `disarm` receives the keys of the lapsed orders, so that a timer can forget them.
    * `hooks` receive an event for every sweep (IDLE: there was nothing to do) and for failures; `timer` is the name in
      those events.

    Any number of sweeps may run at once; each order lapses once.
    """

    def __init__(
        self,
        lapsing: Lapsing,
        *,
        every: timedelta = timedelta(seconds=15),
        batch: int = 500,
        grace: timedelta = timedelta(0),
        timer: str = "orders",
        backoff: Backoff | None = None,
        wait: timedelta | None = None,
        disarm: Callable[[Sequence[str]], None] | None = None,
        hooks: Iterable[Hook] = (log_event,),
    ) -> None:
        if batch < 1 or every <= timedelta(0):
            raise ValueError("batch must be at least 1, and every must be greater than 0")
        self._lapsing = lapsing
        self._batch = batch
        self._grace = grace
        self._timer = timer
        self._cooldown = Cooldown(backoff or Backoff())
        self._lapse_keys = partial(lapsing.lapse, wait=wait, done=self._finished)
        self._disarm = disarm
        self._hooks = tuple(hooks)
        self._repeating = Repeating(self.once, every=every, name="a sweep", timer=timer, hooks=self._hooks)
        self._reported: set[str] = set()

    def run(self) -> None:
        """Sweep at once and repeat until `stop`. Failures do not end it; of several in a row the first is reported."""
        self._repeating.run()

    def stop(self) -> None:
        """Finish the batch in hand and return from `run`. May be called from any thread or signal handler."""
        self._repeating.stop()

    def once(self) -> Swept:
        """Page through the overdue orders once, lapse them and return the result.

        Errors of reading the orders, such as TryLater, are passed on.
        """
        begun = SYSTEM_CLOCK.monotonic()
        swept = Swept()
        named: list[str] = []
        last: Deadline | None = None
        while not self._repeating.stopping:
            page = self._lapsing.orders.overdue(self._batch, grace=self._grace, after=last)
            named += self._lapse(page, swept)[: KEYS_NAMED - len(named)]
            if len(page) < self._batch:
                break
            last = page[-1]
        self._cooldown.drop_expired()
        if not self._repeating.stopping:
            self._name_unreadable(swept)
        if swept.outcomes or swept.failed:
            seconds = SYSTEM_CLOCK.monotonic() - begun
            reason = ", ".join(f"{count} {outcome}" for outcome, count in swept.outcomes.items())
            self._emit(Kind.SWEPT, count=swept.lapsed, keys=tuple(named), seconds=seconds, reason=reason)
        elif not self._repeating.stopping:
            self._emit(Kind.IDLE)
        return swept

    def _name_unreadable(self, swept: Swept) -> None:
        """Add the orders that cannot lapse because of what is stored to `swept.failed`; report each once."""
        unreadable = self._lapsing.orders.unreadable(self._batch)
        swept.failed += unreadable
        for key in unreadable.keys() - self._reported:
            self._emit(Kind.UNREADABLE, count=1, keys=(key,), reason=f"it never lapses: {unreadable[key]}")
        self._reported = set(unreadable)

    def _lapse(self, page: Sequence[Deadline], swept: Swept) -> list[str]:
        """Lapse one page and add the outcomes to `swept`; return the keys that lapsed."""
        keys = [order.key for order in page if self._cooldown.ready(order.key)]
        isolated = isolate(self._lapse_keys, keys)
        swept.failed += isolated.failed
        swept.outcomes.update(result.outcome for result in isolated.results.values())
        for key, result in isolated.results.items():
            self._cooldown.record(key, result)
        return self._report(isolated)

    def _finished(self, isolated: Isolated) -> None:
        """Report orders that were finished in the background, after their gateways had answered."""
        if lapsed := self._report(isolated):
            named = tuple(lapsed[:KEYS_NAMED])
            self._emit(Kind.SWEPT, count=len(lapsed), keys=named, reason="after their gateways had answered")

    def _report(self, isolated: Isolated) -> list[str]:
        """Report the orders that failed, and disarm those that lapsed; return the keys of the latter."""
        for key, error in isolated.failed.items():
            self._cooldown.failed_again(key)
            self._emit(Kind.FAILED, count=1, keys=(key,), error=error, reason="the sweep goes on with the others")
        lapsed = [key for key, result in isolated.results.items() if result.outcome is Outcome.LAPSED]
        if lapsed and self._disarm is not None:
            try:
                self._disarm(lapsed)
            except LapseError as error:  # the deadline fires without effect, which costs little
                log.info("swept orders could not be disarmed: %s", error)
        return lapsed

    def _emit(
        self,
        kind: Kind,
        *,
        count: int = 0,
        keys: tuple[str, ...] = (),
        seconds: float = 0.0,
        reason: str = "",
        error: BaseException | None = None,
    ) -> None:
        emit(
            self._hooks,
            Event(kind=kind, timer=self._timer, count=count, keys=keys, seconds=seconds, reason=reason, error=error),
        )
