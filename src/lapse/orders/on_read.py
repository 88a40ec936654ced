"""Lapsing on read: what a query meets and finds overdue is lapsed before anybody sees it as payable."""

import logging
from collections.abc import Callable, Mapping, Sequence

from lapse.engine.backoff import Backoff
from lapse.engine.deadline import Deadline
from lapse.orders.cooldown import Patience
from lapse.orders.isolate import lapse_apart
from lapse.orders.port import Outcome, Result

log = logging.getLogger("lapse")


def lapse_met(
    lapse: Callable[[Sequence[str]], Mapping[str, Result]],
    find: Callable[[int], Sequence[Deadline]],
    *,
    batch: int = 500,
    limit: int | None = None,
    patience: Patience | None = None,
) -> dict[str, Result]:
    """Lapse whatever `find` meets, batch by batch, until it finds nothing new; say what became of each.

    With `limit`, no more than so many orders are looked at. `find(count)` lists the overdue orders among those that
    are read, oldest first. It is asked again after each batch, because a page of a list moves up when orders leave
    it. An order whose lapse raises is logged and left out of the answer: it must not keep a buyer from his list. With
    `patience`, neither such an order nor one whose gateway does not answer is tried again with every read, because each
    try may take as long as the gateway hangs.

    Raises TryLater where the database is away.
    """
    patience = patience or Patience(Backoff())
    results: dict[str, Result] = {}
    left_alone: set[str] = set()
    while True:
        stuck = len(left_alone) + sum(result.outcome is not Outcome.LAPSED for result in results.values())
        met = [order.key for order in find(batch + stuck) if order.key not in results and order.key not in left_alone]
        tired = {key for key in met if not patience.ready(key)}
        left_alone |= tired
        left = batch if limit is None else min(batch, limit - len(results) - len(left_alone - tired))
        new = [key for key in met if key not in tired][:left]
        if not new and not tired:
            return results
        apart = lapse_apart(lapse, new)
        results.update(apart.results)
        left_alone.update(apart.failed)
        for key, error in apart.failed.items():
            patience.in_vain(key)
            log.error("order %s was met on read and could not be lapsed", key, exc_info=error)
        for key, result in apart.results.items():
            if result.outcome is Outcome.UNANSWERED:
                patience.in_vain(key)
            else:
                patience.done(key)
        patience.forget_the_old()
