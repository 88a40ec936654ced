"""Lapsing on read: an overdue order that a query finds is lapsed before a reader sees it as payable."""

import logging
from collections.abc import Callable, Mapping, Sequence

from lapse.engine.backoff import Backoff
from lapse.engine.deadline import Deadline
from lapse.orders.cooldown import Cooldown
from lapse.orders.isolate import isolate
from lapse.orders.port import Outcome, Result

log = logging.getLogger("lapse")


def lapse_on_read(
    lapse: Callable[[Sequence[str]], Mapping[str, Result]],
    find: Callable[[int], Sequence[Deadline]],
    *,
    batch: int = 500,
    limit: int | None = None,
    cooldown: Cooldown | None = None,
) -> dict[str, Result]:
    """Lapse the orders that `find` returns, batch by batch, until it returns no new order. Return the result of each.

    `limit` is the largest number of orders to try. `find(count)` returns up to `count` overdue orders among the orders
    that a reader will see, oldest first. It is called again after each batch: when orders leave a list, later orders
    move into the page. If lapsing an order raises, the error is logged and the order is missing from the results. The
    reader still gets the list.

    With `cooldown`, such an order is not tried again at every read. The same is true for an order that the shop
    postponed, and for an order whose gateway does not answer: each try may take as long as the gateway hangs.

    Raises TryLater if the database does not answer.
    """
    cooldown = cooldown or Cooldown(Backoff())
    results: dict[str, Result] = {}
    left_alone: set[str] = set()
    while True:
        stuck = len(left_alone) + sum(result.outcome is not Outcome.LAPSED for result in results.values())
        found = [order.key for order in find(batch + stuck)]
        untried = [key for key in found if key not in results and key not in left_alone]
        cooling = {key for key in untried if not cooldown.ready(key)}
        left_alone |= cooling
        room = batch if limit is None else min(batch, limit - len(results) - len(left_alone - cooling))
        new = [key for key in untried if key not in cooling][:room]
        if not new and not cooling:
            return results
        isolated = isolate(lapse, new)
        results.update(isolated.results)
        left_alone.update(isolated.failed)
        for key, error in isolated.failed.items():
            cooldown.failed_again(key)
            log.error("order %s is overdue and could not be lapsed when it was read", key, exc_info=error)
        for key, result in isolated.results.items():
            cooldown.record(key, result)
        cooldown.drop_expired()
