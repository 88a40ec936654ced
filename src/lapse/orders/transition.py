"""The decisions of the transition: what happens to locked orders before and after the gateways are called."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Generic

from lapse.engine.errors import InvalidDeadline, LapseError
from lapse.orders.cause import BY_TIMER, EXPIRED, Cause, WrongTransition
from lapse.orders.gateway import Verdict
from lapse.orders.hold import held_here, holds_here, in_transaction
from lapse.orders.port import Begun, Outcome, Result
from lapse.orders.reopening import Reopening
from lapse.orders.rows import Which
from lapse.orders.shop import OrderBatch, R, Shop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from lapse.engine.deadline import Deadline
    from lapse.orders.gateway import Attempt, Ruling
    from lapse.orders.rows import Rows
    from lapse.orders.shop import Values, ValuesOf


class Transition(Generic[R]):
    """Steps one and three of lapsing, on a framework's rows. It implements `Orders`, the port that the engine calls.

    One transaction cancels for one reason. The shop's hook locks the products that the orders reserved. A second call
    of the hook in the same transaction would lock more products. If a sale locks them in another sequence, the two
    could deadlock.

    `disarm` is called in the transaction with the keys of the orders that it cancels.
    """

    def __init__(
        self,
        shop: Shop[R],
        rows: Rows[R],
        cause: Cause = BY_TIMER,
        *,
        disarm: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self._shop = shop
        self._rows = rows
        self._cause = cause
        self._disarm = disarm
        self._reopening = Reopening(shop, rows)

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return up to `limit` unpaid orders whose deadline passed `grace` ago, oldest first, after `after`."""
        return self._rows.overdue(limit, grace=grace, after=after)

    def deadlines(self) -> Iterable[Deadline]:
        """Yield every unpaid order's deadline."""
        return self._rows.deadlines()

    def unreadable(self, limit: int) -> Mapping[str, str]:
        """Return up to `limit` unpaid orders that cannot lapse because of what is stored: the reason by their key."""
        return self._rows.unreadable(limit)

    def begin(self, keys: Sequence[str]) -> Begun:
        """Lapse the orders without an open attempt to pay; mark the others as closing and return their attempts.

        An order that this thread holds to pay it, or is lapsing, counts as locked: a payment or a hook may read other
        orders by a query that lapses them.
        """
        results: dict[str, Result] = {}
        attempts: list[Attempt] = []
        todo = [key for key in dict.fromkeys(keys) if self._cause.person or key not in held_here()]
        while todo:
            begun, todo = in_transaction(self._rows, todo, partial(self._begin, todo))
            results.update(begun.results)
            attempts += begun.attempts
        # Read after the commit: the state of these orders is only reported, so it needs no lock.
        held = {attempt.order_key for attempt in attempts}
        if others := [key for key in dict.fromkeys(keys) if key not in results and key not in held]:
            results.update(self._ask(others))
        early = [key for key, result in results.items() if result.outcome is Outcome.NOT_DUE]
        if early and self._reopening.declared:
            in_transaction(self._rows, early, partial(self._reopening.reopen_early, early))
        return Begun(results, attempts)

    def _begin(self, keys: Sequence[str]) -> tuple[Begun, list[str]]:
        """Do step one for the orders of one reason; return what it did, and the keys of the other orders."""
        which = Which.UNPAID if self._cause.person else Which.DUE
        orders, reason, later = self._lock(keys, which, wait=self._cause.person)
        results: dict[str, Result] = {}
        if self._cause.resumes:
            begun = self._values(self._shop.closing, reason)
            by_timer = reason == EXPIRED  # the deadline decides, and it may have been extended
            others = [order for order in orders if by_timer or not self._rows.has(order, begun)]
            results = {self._rows.key_of(order): Result(Outcome.NOT_DUE) for order in others}
            orders = [order for order in orders if self._rows.key_of(order) not in results]
        if orders and not self._cause.person and self._overrides("postpone"):
            results = self._postponed(orders)
            left = [key for order in orders if (key := self._rows.key_of(order)) not in results]
            orders = list(self._rows.lock(left, Which.DUE, wait=False))  # the hook may have paid or extended some
        holds = holds_here()
        opened = list(self._shop.open_attempts(orders)) if orders else []
        _refuse_strangers(opened, {self._rows.key_of(order) for order in orders})
        orders = self._unchanged(orders, holds)
        unpaid = {self._rows.key_of(order) for order in orders}
        opened = [attempt for attempt in opened if attempt.order_key in unpaid]
        held = {attempt.order_key for attempt in opened}
        self._close([order for order in orders if self._rows.key_of(order) in held], reason)
        lapsed = self._lapse([order for order in orders if self._rows.key_of(order) not in held], reason)
        results.update(dict.fromkeys(lapsed, Result(Outcome.LAPSED)))
        return Begun(results, opened), later

    def _postponed(self, orders: Sequence[R]) -> dict[str, Result]:
        """Return the results of the orders that the shop postpones. The database's clock decides what has passed."""
        postponed = self._shop.postpone(orders)
        if postponed is None:
            raise InvalidDeadline("postpone() returned None: return the orders that must not lapse now, or {}")
        if not postponed:
            return {}
        received = set(orders)
        now = self._rows.now()
        results = {}
        for order, until in postponed.items():
            if order not in received:
                raise InvalidDeadline(f"postpone() returned {order!r}, which is none of the orders that it received")
            if until is not None and (not isinstance(until, datetime) or until.tzinfo is None):
                raise InvalidDeadline(
                    f"postpone() must return a datetime with a time zone, or None, for each order; got {until!r}"
                )
            if until is None:
                results[self._rows.key_of(order)] = Result(Outcome.POSTPONED)
            elif until > now:
                results[self._rows.key_of(order)] = Result(Outcome.POSTPONED, until, until - now)
        return results

    def _overrides(self, hook: str) -> bool:
        return getattr(type(self._shop), hook) is not getattr(Shop, hook)

    def _unchanged(self, orders: Sequence[R], holds: int) -> list[R]:
        """Return the orders that are still unpaid. They are asked again only if a hook has held an order to pay it.

        `holds` is the number of holds before the hooks.
        """
        if not orders or holds_here() == holds:
            return list(orders)
        unpaid = set(self._rows.unpaid(orders))
        return [order for order in orders if self._rows.key_of(order) in unpaid]

    def finish(self, rulings: Sequence[Ruling]) -> dict[str, Result]:
        """Lapse, pay or keep each order by the gateways' rulings. Return the result of each order.

        The shop receives the rulings of every order that can be locked, even if the order is no longer unpaid: a
        payment must not be lost. An order that is still unpaid and due lapses if all its attempts are closed.

        A paid order gets a separate transaction, as every payment does. In a shared transaction its products would stay
        locked while the next order waits for locks. Two such calls could deadlock. For a paid order this call waits
        until no other transaction has locked the row: a payment is never dropped because the row is busy. If this
        raises, the payment is not recorded. No money is lost, because the attempt stays open in the shop's records and
        is asked about again.
        """
        by_key: dict[str, list[Ruling]] = defaultdict(list)
        for ruling in rulings:
            by_key[ruling.attempt.order_key].append(ruling)
        paid = [key for key, of_order in by_key.items() if any(ruling.verdict is Verdict.PAID for ruling in of_order)]
        parts = [([key], True) for key in paid]
        parts.append(([key for key in by_key if key not in set(paid)], self._cause.person))
        results: dict[str, Result] = {}
        for part, wait in parts:
            left = part
            while left:
                ruled = {key: by_key[key] for key in left}
                results.update(in_transaction(self._rows, ruled, partial(self._finish, ruled, wait=wait)))
                left = [key for key in left if key not in results]
        return results

    def _finish(self, by_key: Mapping[str, Sequence[Ruling]], *, wait: bool) -> dict[str, Result]:
        """Decide on these orders in the open transaction; return results without orders that have another reason."""
        orders, reason, later = self._lock(list(by_key), Which.ALL, wait=wait)
        # LOCKED means that the order may be cancelled. The rows are locked, so this stays true until a hook changes
        # them.
        results = self._ask([key for key in by_key if key not in set(later)])
        holds = holds_here()
        paid, closed, early = [], [], []
        for order in orders:
            key = self._rows.key_of(order)
            if self._shop.on_ruling(order, by_key[key]):
                results[key] = Result(Outcome.PAID)
                paid.append(order)
            elif results[key].outcome is Outcome.LOCKED:
                if all(ruling.verdict.ended for ruling in by_key[key]):
                    closed.append(order)
                else:
                    results[key] = Result(Outcome.UNANSWERED)
            elif results[key].outcome is Outcome.NOT_DUE:
                early.append(order)
        self._reopening.reopen(self._unchanged(early, holds))
        self._refuse_unpaid(paid, "on_ruling() returned True")
        # An attempt opened since step one is not closed yet: its order stays LOCKED and goes through step one again.
        ruled = {_name(ruling.attempt) for of_order in by_key.values() for ruling in of_order}
        opened = (
            [attempt for attempt in self._shop.open_attempts(closed) if _name(attempt) not in ruled] if closed else []
        )
        reopened = {attempt.order_key for attempt in opened}
        closed = [order for order in closed if self._rows.key_of(order) not in reopened]
        lapsed = self._lapse(self._unchanged(closed, holds), reason)
        results.update(dict.fromkeys(lapsed, Result(Outcome.LAPSED)))
        return results

    def _lock(self, keys: Sequence[str], which: Which, *, wait: bool) -> tuple[list[R], str, list[str]]:
        """Lock the rows; return the orders with the first order's reason, that reason, and the other orders' keys.

        An order keeps the reason that it has. An order without a reason gets the reason of this transition.
        """
        locked = self._rows.lock(keys, which, wait=wait)
        reasons = [self._reason_of(order) for order in locked]
        reason = reasons[0] if reasons else self._cause.reason
        later = [
            self._rows.key_of(order) for order, of_order in zip(locked, reasons, strict=True) if of_order != reason
        ]
        return [order for order, of_order in zip(locked, reasons, strict=True) if of_order == reason], reason, later

    def _reason_of(self, order: R) -> str:
        field = self._shop.reason_field
        first = self._rows.value_of(order, field) if field else None
        return str(first) if first else self._cause.reason

    def _ask(self, keys: Sequence[str]) -> dict[str, Result]:
        """Return the state of these orders. LOCKED: this transition may cancel the order and has not done so."""
        states = dict(self._rows.ask(keys))
        if self._cause.person:  # the deadline does not matter
            for key, result in states.items():
                if result.outcome is Outcome.NOT_DUE:
                    states[key] = Result(Outcome.LOCKED)
        return states

    def _close(self, orders: Sequence[R], reason: str) -> None:
        """Write the values of `closing` into these locked rows, except rows that already have them."""
        values = self._values(self._shop.closing, reason)
        if not values:
            return
        fresh = [order for order in orders if not self._rows.has(order, values)]
        if not fresh:
            return
        closing = self._rows.change(fresh, values)
        self._shop.on_closing(self._batch(closing, reason))
        still = set(self._rows.unpaid(closing))
        if gone := [key for order in closing if (key := self._rows.key_of(order)) not in still]:
            raise WrongTransition(
                f"after `closing` was written, {_named(gone)} no longer count as unpaid, so no process would go on "
                "after a crash. Let `unpaid` match the values of `closing` as well"
            )

    def _lapse(self, orders: Sequence[R], reason: str) -> list[str]:
        """Cancel these locked orders and call the shop's hooks. Return the orders' keys."""
        if not orders:
            return []
        values = self._values(self._shop.lapsed, reason)
        if self._overrides("transition"):
            lapsed, keys = self._by_transition(orders, values)
        else:
            lapsed = list(self._rows.change(orders, values) if values else orders)
            keys = [self._rows.key_of(order) for order in lapsed]
        if self._disarm is not None:
            self._disarm(keys)
        self._shop.on_lapse(self._batch(lapsed, reason))  # late: the hook may lock rows that many wait for
        self._refuse_unpaid(lapsed, "the orders were cancelled")
        return keys

    def _by_transition(self, orders: Sequence[R], values: Values) -> tuple[list[R], list[str]]:
        """Cancel each order by the shop's own transition; return these orders and their keys.

        The transition of one order may cancel others as well, such as the parts of a shipment. So each further order
        is read again, and left out if it is no longer unpaid.
        """
        lapsed: list[R] = []
        keys: list[str] = []
        for order in orders:
            key = self._rows.key_of(order)
            current = self._rows.lock([key], Which.UNPAID, wait=False) if lapsed else [order]
            for changed in self._rows.change(current, values) if current and values else current:
                self._shop.transition(changed)
                lapsed.append(changed)
                keys.append(key)
        return lapsed, keys

    def _refuse_unpaid(self, orders: Sequence[R], after: str) -> None:
        """Roll the transaction back if an order would be cancelled and give its stock back once more."""
        if orders and (still := self._rows.unpaid(orders)):
            raise WrongTransition(
                f"after {after}, {_named(still)} still count as unpaid, so nothing was changed. What `lapsed`, "
                "`transition` or the hooks write must make `unpaid` false: change `unpaid`, or write the field it reads"
            )

    def _values(self, declared: ValuesOf | None, reason: str) -> Values:
        """Return the values to write for this reason, and the reason itself if the shop stores it."""
        values = declared(reason, self._cause.actor) if callable(declared) else declared or {}
        return {**values, self._shop.reason_field: reason} if self._shop.reason_field else values

    def _batch(self, orders: Sequence[R], reason: str) -> OrderBatch[R]:
        return OrderBatch(orders, reason=reason, actor=self._cause.actor, on_read=self._cause.on_read)


def _named(keys: Collection[str]) -> str:
    """Return the number of orders and their first keys, for a message."""
    first = ", ".join(repr(key) for key in sorted(keys)[:3])
    return f"{len(keys)} of the orders ({first}{', …' if len(keys) > 3 else ''})"  # noqa: PLR2004 - three fit a line


def _name(attempt: Attempt) -> str:
    return attempt.reference


def _refuse_strangers(attempts: Sequence[Attempt], keys: set[str]) -> None:
    """Refuse an attempt of an order that is not among `keys`: its order would lapse while the attempt is open."""
    for attempt in attempts:
        if attempt.order_key not in keys:
            raise LapseError(
                f"open_attempts() returned attempt {_name(attempt)} of order {attempt.order_key!r}, which is not among "
                "the orders it received: Attempt.order_key must be the order's key as a string"
            )
