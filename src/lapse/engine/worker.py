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

    * `handler` gets up to `batch` claims. It runs in a separate thread. If it raises, the batch is tried again in
      halves, so that the bad order is found and the other orders go on. The bad order is released with `backoff`, and
      buried after `max_attempts`. If it raises TryLater, all claims are released and no attempt is counted.
    * `lease` limits how late orders become if this process crashes while it holds them. Leases are renewed while a long
      handler runs.
    * `rearm` arms every unpaid order that the timer does not know. It is called at the start, and whenever the timer's
      server may have lost deadlines, in a separate thread.
    * On SIGTERM or SIGINT the worker finishes its current batch, for at most `drain`. A second signal ends the wait.
    * `hooks` are called with each event; by default events go to the `lapse` logger.

    An order may be handed out more than once (a crash, a lost answer), so the handler must change it by a conditional
    update. An update without another condition can use `Claim.token` as a fence.
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
            raise ValueError("batch must be at least 1")
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
    """Runs one handler on one timer, many claims at once: for work that waits, such as a call over the network.

    * `handler` gets one claim, in one of `concurrency` threads, so that a slow answer delays its own order only. The
      worker holds only claims that its threads are handling.
    * If it raises, the claim is released with `backoff`, and buried after `max_attempts`. If it raises TryLater, the
      claim is released and no attempt is counted.
    * On SIGTERM or SIGINT the worker claims nothing more, and running handlers may finish within `drain`. A second
      signal ends the wait. Claims that are still unfinished then are handed out again when their leases end.

    `lease`, `rearm` and `hooks` are those of a Worker. As there, an order may be handed out more than once.
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
            raise ValueError("concurrency must be at least 1")
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
