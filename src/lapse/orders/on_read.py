"""Lapsing on read: what a query meets and finds overdue is lapsed before anybody sees it as payable."""

import logging
from collections.abc import Callable, Mapping, Sequence

from lapse.engine.deadline import Deadline
from lapse.orders.halving import lapse_apart
from lapse.orders.port import Outcome, Result

log = logging.getLogger("lapse")


def lapse_met(
    lapse: Callable[[Sequence[str]], Mapping[str, Result]],
    find: Callable[[int], Sequence[Deadline]],
    *,
    batch: int = 500,
    limit: int | None = None,
) -> dict[str, Result]:
    """Lapse whatever `find` meets, batch by batch, until it finds nothing new; say what became of each.

    With `limit`, no more than so many orders are looked at. `find(count)` lists the overdue orders among those that
    are read, oldest first. It is asked again after each batch, because a page of a list moves up when orders leave
    it. An order whose lapse raises is logged and left out of the answer: it must not keep a buyer from his list.

    Raises TryLater where the database is away.
    """
    results: dict[str, Result] = {}
    failed: set[str] = set()
    while True:
        stuck = len(failed) + sum(result.outcome is not Outcome.LAPSED for result in results.values())
        met = [order.key for order in find(batch + stuck)]
        left = batch if limit is None else min(batch, limit - len(results) - len(failed))
        new = [key for key in met if key not in results and key not in failed][:left]
        if not new:
            return results
        apart = lapse_apart(lapse, new)
        results.update(apart.results)
        failed.update(apart.failed)
        for key, error in apart.failed.items():
            log.error("order %s was met on read and could not be lapsed", key, exc_info=error)
