"""Steps one and three of lapsing: the transactions in which an unpaid order becomes another one."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from django.db import transaction

from lapse.engine.errors import LapseError
from lapse.orders.gateway import Attempt, Ruling, Verdict
from lapse.orders.port import Begun, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapse.integrations.django.queries import M, Rows
    from lapse.integrations.django.unpaid_orders import UnpaidOrders


def begin(shop: UnpaidOrders[M], rows: Rows[M], keys: Sequence[str]) -> Begun:
    """Lapse the due orders without an open attempt to pay; mark the others as closing and return their attempts."""
    with transaction.atomic(using=rows.using):
        due = rows.lock_due(keys)
        attempts = list(shop.open_attempts(due)) if due else []
        _refuse_strangers(attempts, {rows.key_of(order) for order in due})
        held = {attempt.order_key for attempt in attempts}
        closing = [order for order in due if rows.key_of(order) in held]
        if closing and shop.closing:
            rows.change(closing, shop.closing)
        lapsed = _lapse(shop, rows, [order for order in due if rows.key_of(order) not in held])
    results = dict.fromkeys(lapsed, Result(Outcome.LAPSED))
    # Read after the commit: what these orders are now is for information, and needs no lock.
    if others := [key for key in dict.fromkeys(keys) if key not in results and key not in held]:
        results.update(rows.states(others))
    return Begun(results, attempts)


def finish(shop: UnpaidOrders[M], rows: Rows[M], rulings: Sequence[Ruling]) -> dict[str, Result]:
    """Let the gateways' rulings decide.

    Every order that can be locked hears its rulings, also one that is unpaid no more: money must not be swallowed.
    Of those still unpaid and due, the ones whose every attempt is closed lapse.

    An order for which money was found has a transaction of its own, as any payment has: the locks on what it sells
    would else be held while the next order waits for others, and two that do so wait for each other.
    """
    by_key: dict[str, list[Ruling]] = defaultdict(list)
    for ruling in rulings:
        by_key[ruling.attempt.order_key].append(ruling)
    results: dict[str, Result] = {}
    unpaid: dict[str, list[Ruling]] = {}
    for key, told in by_key.items():
        if any(ruling.verdict is Verdict.PAID for ruling in told):
            results.update(_finish(shop, rows, {key: told}))
        else:
            unpaid[key] = told
    if unpaid:
        results.update(_finish(shop, rows, unpaid))
    return results


def _finish(shop: UnpaidOrders[M], rows: Rows[M], by_key: Mapping[str, Sequence[Ruling]]) -> dict[str, Result]:
    """Decide on these orders in one transaction."""
    with transaction.atomic(using=rows.using):
        locked = {rows.key_of(order): order for order in rows.lock(by_key)}
        # LOCKED means unpaid and due. The rows are ours, so that stays true until a hook changes it.
        results = rows.states(by_key)
        closed = []
        for key, order in locked.items():
            paid = shop.on_ruling(order, by_key[key])
            if paid:
                results[key] = Result(Outcome.PAID)
            elif results[key].outcome is Outcome.LOCKED:
                if all(ruling.verdict is Verdict.CLOSED for ruling in by_key[key]):
                    closed.append(order)
                else:
                    results[key] = Result(Outcome.UNANSWERED)
        # An attempt that was opened since step one has not been closed; the order stays LOCKED and is begun again.
        ruled = {ruling.attempt.reference for told in by_key.values() for ruling in told}
        opened = [a for a in shop.open_attempts(closed) if a.reference not in ruled] if closed else []
        reopened = {attempt.order_key for attempt in opened}
        lapsed = _lapse(shop, rows, [order for order in closed if rows.key_of(order) not in reopened])
        results.update(dict.fromkeys(lapsed, Result(Outcome.LAPSED)))
    return results


def _lapse(shop: UnpaidOrders[M], rows: Rows[M], orders: Sequence[M]) -> list[str]:
    """Write the new state into these locked rows and let the shop give back what they held; answer their keys."""
    if not orders:
        return []
    lapsed = rows.change(orders, shop.lapsed)
    shop.on_lapse(lapsed)
    return [rows.key_of(order) for order in lapsed]


def _refuse_strangers(attempts: Sequence[Attempt], keys: set[str]) -> None:
    """Refuse an attempt of an order that was not asked about: its own order would lapse while it is still open."""
    for attempt in attempts:
        if attempt.order_key not in keys:
            raise LapseError(
                f"open_attempts() returned attempt {attempt.reference} of order {attempt.order_key!r}, which it was "
                "not asked about: Attempt.order_key must be the order's key as a string"
            )
