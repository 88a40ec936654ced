"""The worker: runs a handler on a timer, in batches or for many claims at once."""

from collections.abc import Callable, Iterable
from datetime import timedelta

from lapse.engine.backoff import Backoff
from lapse.engine.batches import BatchExecutor, Handler
from lapse.engine.claim_loop import ClaimLoop
from lapse.engine.concurrency import ClaimHandler, ConcurrentExecutor
from lapse.engine.events import Hook, log_event
from lapse.engine.timer import LEASE, Timer

__all__ = ["DRAIN", "MAX_ATTEMPTS", "ClaimHandler", "ConcurrentWorker", "Handler", "Worker"]

MAX_ATTEMPTS = 10
DRAIN = timedelta(seconds=10)


class Worker(ClaimLoop):
    """Runs one handler on one timer, in batches. Start as many workers, in as many processes, as you like.

    * `handler` gets up to `batch` claims. It runs in a thread of its own. If it raises, the batch is tried again in
      halves, so that one bad order is found and the others go on; the bad one is released with `backoff`, and buried
      after `max_attempts`. If it raises TryLater, all are given back and no attempt is counted.
    * `lease` bounds how late a crash of this process can make the orders that it held; long handlers are kept leased.
    * `rearm` arms every unpaid order that the timer does not know. It is called at the start and whenever the timer's
      server may have lost deadlines, beside the work.
    * On SIGTERM or SIGINT the batch in hand is finished, for at most `drain`; a second signal does not wait.
    * `hooks` are called with each event; by default events go to the `lapse` logger.

    An order may be handed out more than once (a crash, a lost answer): the handler's effects must come from a
    conditional update. `Claim.token` is there as a fence for updates that have no other condition.
    """

    def __init__(
        self,
        timer: Timer,
        handler: Handler,
        *,
        batch: int = 500,
        lease: timedelta = LEASE,
        max_attempts: int = MAX_ATTEMPTS,
        backoff: Backoff | None = None,
        drain: timedelta = DRAIN,
        rearm: Callable[[], int] | None = None,
        hooks: Iterable[Hook] = (log_event,),
    ) -> None:
        if batch < 1:
            raise ValueError("batch is at least 1")
        super().__init__(
            timer,
            lambda settlement: BatchExecutor(handler, settlement, limit=batch),
            lease=lease,
            max_attempts=max_attempts,
            backoff=backoff,
            drain=drain,
            rearm=rearm,
            hooks=hooks,
        )


class ConcurrentWorker(ClaimLoop):
    """Runs one handler on one timer, many claims at once: for work that waits, as a call over the network does.

    * `handler` gets one claim, in one of `concurrency` threads, so that a slow answer delays its own order only. No
      more claims are held than are under way.
    * If it raises, the claim is released with `backoff`, and buried after `max_attempts`. If it raises TryLater, the
      claim is given back and no attempt is counted.
    * On SIGTERM or SIGINT nothing more is claimed, and what is under way may end within `drain`; a second signal does
      not wait. What is still under way then is handed out again when its lease has ended.

    `lease`, `rearm` and `hooks` are as those of a Worker; what is said there about orders that are handed out more
    than once holds here, too.
    """

    def __init__(
        self,
        timer: Timer,
        handler: ClaimHandler,
        *,
        concurrency: int = 32,
        lease: timedelta = LEASE,
        max_attempts: int = MAX_ATTEMPTS,
        backoff: Backoff | None = None,
        drain: timedelta = DRAIN,
        rearm: Callable[[], int] | None = None,
        hooks: Iterable[Hook] = (log_event,),
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        super().__init__(
            timer,
            lambda settlement: ConcurrentExecutor(handler, settlement, concurrency=concurrency),
            lease=lease,
            max_attempts=max_attempts,
            backoff=backoff,
            drain=drain,
            rearm=rearm,
            hooks=hooks,
        )
