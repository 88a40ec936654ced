"""The one door for money: each report of a gateway is booked here, in one transaction, from wherever it came."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from lapse.engine.errors import LapseError
from lapse.orders import decisions
from lapse.orders.cause import WrongTransition
from lapse.orders.gateway import RefundState, Verdict
from lapse.orders.hold import in_transaction
from lapse.orders.late_money import AttemptState, Booking, Effect, OrderState, ask_in, book, takes_number
from lapse.orders.rows import Which
from lapse.orders.shop import R

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from decimal import Decimal

    from lapse.orders.gateway import Attempt, Refund, Ruling
    from lapse.orders.late_money import Record
    from lapse.orders.rows import Rows
    from lapse.orders.shop import Shop

R_contra = TypeVar("R_contra", contravariant=True)

log = logging.getLogger("lapse")


class UnknownAttempt(LapseError):
    """The shop has no such attempt, or its transaction is not committed yet. Let the gateway report again."""


class Settled(StrEnum):
    """What became of a gateway's report."""

    PAID = "paid"
    """The money has paid the order now."""
    REINSTATED = "reinstated"
    """The cancelled order was reinstated, and the money has paid it."""
    REFUND_DUE = "refund due"
    """No order can take the money. Lapse refunds it."""
    REVIEW = "review"
    """A person must look at the attempt: `Record.alarm` says why."""
    REFUNDED = "refunded"
    """The buyer has the money back, or a part of it."""
    WRITTEN_OFF = "written off"
    """The shop keeps the money, or reports that cannot be booked are ignored, because a person has said why."""
    NO_STOCK = "no stock"
    """A person wanted to reinstate the order, and the shop could not. Nothing was changed."""
    NOTED = "noted"
    """The report is about no money. The attempt's new state was stored."""
    KNOWN = "known"
    """The report says nothing new."""


@dataclass(frozen=True, slots=True)
class Question:
    """An attempt about which the gateway is asked: as it is stored, and as the gateway receives it."""

    record: Record
    attempt: Attempt


class Attempts(Protocol[R_contra]):
    """The rows of the attempts to pay. Everywhere, the order's row is locked before the rows of its attempts."""

    def find(self, reference: str) -> Record | None:
        """Return the attempt without locking its row, or None."""
        ...

    def question(self, reference: str) -> Question | None:
        """Return the attempt with what its gateway must know to be asked about it, without locks; or None."""
        ...

    def lock(self, reference: str) -> Record:
        """Lock the attempt's row in the open transaction. Return the attempt as it is once locked.

        Raises UnknownAttempt if there is no such row.
        """
        ...

    def store(self, record: Record, *, ask_in: timedelta | None, keep_time: bool = False) -> None:
        """Write the locked row. The gateway is asked after `ask_in`, by the database's clock; None: never again.

        `keep_time`: the gateway is asked when it would have been asked before, and `ask_in` does not count.
        """
        ...

    def open_of(self, orders: Sequence[R_contra]) -> Sequence[Attempt]:
        """Return the attempts of these orders that may still be paid."""
        ...

    def take_number(self, record: Record, provider_reference: str) -> bool:
        """Store this number of a payment with the locked attempt; return False if another attempt there has it.

        Waits for another transaction that stores the same number: of two at once, one has the number.
        """
        ...

    def ask_now(self, reference: str) -> None:
        """Let the gateway be asked about this attempt at once."""
        ...

    def ask_others(self, record: Record) -> None:
        """Let the gateway be asked at once about the other attempts of the order that may still be paid."""
        ...

    def ask_open(self, orders: Sequence[R_contra]) -> None:
        """Let the gateways be asked at once about the attempts of these orders that may still be paid."""
        ...

    def to_ask(self, limit: int, *, within: timedelta) -> Sequence[Question]:
        """Return up to `limit` attempts that must be asked about now, in any state of their orders.

        The attempts that wait longest come first. Each is put off by `within`, so that no other process asks at the
        same time. If this process crashes, another process asks after that time.
        """
        ...


class Money(Generic[R]):
    """Books what gateways report about attempts. `disarm` is called in the transaction that pays an order."""

    def __init__(
        self, shop: Shop[R], rows: Rows[R], attempts: Attempts[R], *, disarm: Callable[[Sequence[str]], None]
    ) -> None:
        self.attempts = attempts
        self._shop = shop
        self._rows = rows
        self._disarm = disarm

    def receive(self, ruling: Ruling, *, asked_about: Record | None = None) -> Settled:
        """Book a gateway's verdict on an attempt and return what became of it. It is committed when this returns.

        The verdict may come by a notify, a query or a close, more than once and in any sequence. Waits for other
        transactions that have locked the order. `asked_about`: the attempt as it was when its time to be asked about
        had come. Only the answer to such a question decides when the next question follows. Raises UnknownAttempt.
        """
        key = self._found(ruling.attempt).order_key
        return in_transaction(self._rows, [key], lambda: self.apply(self._locked(key), ruling, asked_about=asked_about))

    def apply(self, order: R, ruling: Ruling, *, asked_about: Record | None = None) -> Settled:
        """Book the verdict in the open transaction, which has locked the order. Return what became of it.

        Raises UnknownAttempt.
        """
        before = self._of_gateway(self.attempts.lock(ruling.attempt.reference), ruling.attempt)
        if before.order_key != self._rows.key_of(order):
            raise UnknownAttempt(
                f"attempt {before.reference!r} pays order {before.order_key!r}, and not {self._rows.key_of(order)!r}"
            )
        if ruling.verdict is Verdict.UNKNOWN and not before.state.open:
            return Settled.KNOWN  # the gateway is away, which is no answer to count
        state = self._state_of(order)
        taken = takes_number(before, ruling) and not self.attempts.take_number(before, ruling.provider_reference)
        policy = self._shop.late_money
        known = asked_about is not None and asked_about.state.has_money
        booking = book(before, state, ruling, policy, number_taken=taken, money_was_known=known)
        return self._carry_out(order, state, before, booking, asked=asked_about is not None)

    def begin_refund(self, attempt: Attempt) -> Decimal | None:
        """Return the amount to refund, or None if no refund is due any more. Raises UnknownAttempt.

        The amount is stored before the gateway is asked for it, and stays the same: a provider refuses a second request
        for the same attempt with another amount.
        """
        key = self._found(attempt).order_key
        return in_transaction(self._rows, [key], partial(self._begin_refund, key, attempt.reference))

    def refunded(self, refund: Refund) -> Settled:
        """Book the gateway's answer to a refund and return what became of it. Raises UnknownAttempt."""
        key = self._found(refund.attempt).order_key
        return in_transaction(self._rows, [key], lambda: self._refunded(self._locked(key), refund))

    def decide_refund(self, reference: str) -> Settled:
        """Book a person's decision to refund an attempt in review, and return what became of it.

        REFUND_DUE: what the shop has of the attempt's money is refunded as soon as a worker can. KNOWN: the attempt is
        no longer in review, because another decision or report came first. Raises UnknownAttempt.
        """
        return self._decide(reference, decisions.refund)

    def decide_reinstate(self, reference: str, *, seen: AttemptState | None = None) -> Settled:
        """Book a person's decision that money in review, or money to be refunded, pays its order. Return what happened.

        REINSTATED, or PAID if the order is unpaid. NO_STOCK: `Shop.reinstate` could not, so nothing was changed. KNOWN:
        no order can take this money. Another decision or report came first, the gateway was already asked for the
        refund, or the amount is not the amount due. `seen`: the state that the person saw; if the attempt has another
        state by now, the result is KNOWN as well. Raises UnknownAttempt.

        The gateway is then asked once whether the money is still there: it may have been refunded by hand meanwhile.
        """
        return self._decide(reference, partial(decisions.reinstate, seen=seen))

    def write_off(self, reference: str, *, reason: str, seen: AttemptState | None = None) -> Settled:
        """Book a person's decision that the shop keeps the money of an attempt, and why. Return what happened.

        WRITTEN_OFF: money in review, or money to be refunded, is kept; a later report of a refund is booked all the
        same. For an attempt whose report of money cannot be booked, such reports are ignored from now on, and its order
        may lapse. KNOWN: another decision or report came first, or the gateway was already asked for the refund.
        `seen`: as for `decide_reinstate`. Raises UnknownAttempt, and ValueError for a reason that cannot be stored.
        """
        reason = reason.strip()
        if not 0 < len(reason) <= decisions.LONGEST_REASON or "\0" in reason:
            raise ValueError(
                f"state a reason of 1 to {decisions.LONGEST_REASON} characters: the buyer and the books rely on it"
            )
        return self._decide(reference, partial(decisions.write_off, reason=reason, seen=seen))

    def remove_alarm(self, reference: str, *, seen: str | None = None) -> Settled:
        """Book that a person has dealt with the alarm of an attempt. Return NOTED, or KNOWN if there is no alarm.

        For an attempt in review this changes nothing: its money needs a decision. `seen`: the alarm that the person
        saw; another alarm stays. Raises UnknownAttempt.
        """
        return self._decide(reference, partial(decisions.remove_alarm, seen=seen))

    def _decide(self, reference: str, decision: Callable[[Record, OrderState], Booking]) -> Settled:
        record = self.attempts.find(reference)
        if record is None:
            raise UnknownAttempt(f"this shop has no attempt {reference!r}")
        return in_transaction(
            self._rows, [record.order_key], lambda: self._decided(self._locked(record.order_key), reference, decision)
        )

    def _decided(self, order: R, reference: str, decision: Callable[[Record, OrderState], Booking]) -> Settled:
        before, state = self.attempts.lock(reference), self._state_of(order)
        booking = decision(before, state)
        settled = self._carry_out(order, state, before, booking)
        if settled in (Settled.PAID, Settled.REINSTATED) or booking.record.state is AttemptState.WRITTEN_OFF:
            # Never asked about again otherwise, and a person may have refunded it at the provider's own console.
            self.attempts.ask_now(reference)
        return settled

    def _begin_refund(self, key: str, reference: str) -> Decimal | None:
        self._locked(key)
        before = self.attempts.lock(reference)
        if before.state is not AttemptState.REFUND_DUE:
            return None
        if before.refunding is None:
            before = replace(before, refunding=before.kept)
            self.attempts.store(before, ask_in=None, keep_time=True)
        return before.refunding

    def _refunded(self, order: R, refund: Refund) -> Settled:
        before = self.attempts.lock(refund.attempt.reference)
        amount = before.refunding or before.kept
        if before.state is not AttemptState.REFUND_DUE or refund.state not in (RefundState.DONE, RefundState.REFUSED):
            if refund.state is RefundState.DONE and before.state in (AttemptState.SUCCEEDED, AttemptState.WRITTEN_OFF):
                # Two processes asked for the refund. One was refused, a person decided otherwise, and this one was not.
                self.attempts.ask_now(before.reference)
            return Settled.KNOWN
        if refund.state is RefundState.DONE and refund.amount in (None, amount):
            state = AttemptState.REFUNDED
            after = replace(before, state=state, refunded=before.paid or amount, alarm=before.lasting_alarm)
        else:
            alarm = f"the gateway refuses to refund {amount}: {refund.reason or 'it gave no reason'}"
            if refund.state is RefundState.DONE:
                alarm = f"the gateway was asked to refund {amount}, and refunded {refund.amount}"
            # No amount is kept: what a person decides to refund later may be less, after a refund of a part.
            after = replace(before, state=AttemptState.REVIEW, refunding=None, alarm=before.lasting_alarm or alarm)
        return self._carry_out(order, self._state_of(order), before, Booking(after))

    def _carry_out(
        self, order: R, state: OrderState, before: Record, booking: Booking, *, asked: bool = False
    ) -> Settled:
        """Do what the booking says to the order, store the attempt, and return what became of the report.

        `asked`: the report answers a question whose time had come, so the time of the next question is stored.
        """
        after, effect = booking.record, booking.effect
        if effect is Effect.REINSTATE and not self._reinstated(order):
            if booking.or_nothing:
                return Settled.NO_STOCK
            after, effect = replace(after, state=AttemptState.REFUND_DUE), Effect.NONE
        if effect in (Effect.PAY, Effect.REINSTATE):
            self._shop.on_paid(order, after)
            self._refuse_unpaid(order, "on_paid()", unpaid=True)
            self._disarm([after.order_key])
            self.attempts.ask_others(after)
            state = OrderState.PAID
        elif effect is Effect.REFUNDED:
            self._shop.on_refunded(order, after, after.refunded - before.refunded)
        self._store(before, after, state, asked=asked)
        if after != before:
            self._shop.on_attempt(order, before, after)
        return self._settled(before, after, effect)

    def _settled(self, before: Record, after: Record, effect: Effect) -> Settled:
        if after.alarm and after.alarm != before.alarm:
            log.error("attempt %s of order %s needs a person: %s", after.reference, after.order_key, after.alarm)
        if after == before:
            return Settled.KNOWN
        if effect in (Effect.PAY, Effect.REINSTATE):
            return Settled.PAID if effect is Effect.PAY else Settled.REINSTATED
        if after.alarm != before.alarm and after.alarm:
            return Settled.REVIEW
        if after.refunded > before.refunded:
            return Settled.REFUNDED
        if after.state is AttemptState.REFUND_DUE and before.state is not AttemptState.REFUND_DUE:
            log.warning(
                "attempt %s of order %s: %s was paid, and no order can take it. It is refunded",
                after.reference,
                after.order_key,
                after.paid,
            )
            return Settled.REFUND_DUE
        return Settled.NOTED if after.written_off == before.written_off else Settled.WRITTEN_OFF

    def _reinstated(self, order: R) -> bool:
        """Let the shop reserve the stock again; return whether it could. If not, its changes are rolled back."""
        try:
            with self._rows.transaction():
                self._reinstate(order)
        except _NoStock:
            return False
        return True

    def _reinstate(self, order: R) -> None:
        if not self._shop.reinstate(order):
            raise _NoStock
        self._refuse_unpaid(order, "reinstate()", unpaid=False)

    def _refuse_unpaid(self, order: R, hook: str, *, unpaid: bool) -> None:
        """Roll back if the order counts as unpaid after it was paid, or does not count as unpaid where it must."""
        if bool(self._rows.unpaid([order])) is unpaid:
            still = "still counts as unpaid" if unpaid else "does not count as unpaid"
            raise WrongTransition(
                f"after {hook}, order {self._rows.key_of(order)!r} {still}, so nothing was changed: write the field "
                "that `unpaid` reads"
            )

    def _store(self, before: Record, after: Record, order: OrderState, *, asked: bool) -> None:
        """Store the attempt, and when to ask again. A report that answers no question puts no question off."""
        if after.state is before.state and not asked:
            if after != before:
                self.attempts.store(after, ask_in=None, keep_time=True)
            return
        after = replace(after, asks=before.asks + 1 if after.state is before.state else 0)
        waits = order is OrderState.UNPAID
        self.attempts.store(after, ask_in=ask_in(after.state, after.asks, order_waits=waits))

    def _state_of(self, order: R) -> OrderState:
        if self._rows.unpaid([order]):
            return OrderState.UNPAID
        return OrderState.CANCELLED if self._shop.was_cancelled(order) else OrderState.PAID

    def _locked(self, key: str) -> R:
        orders = self._rows.lock([key], Which.ALL, wait=True)
        if not orders:
            raise UnknownAttempt(f"no order has the key {key!r}")
        return orders[0]

    def _found(self, attempt: Attempt) -> Record:
        return self._of_gateway(self.attempts.find(attempt.reference), attempt)

    @staticmethod
    def _of_gateway(record: Record | None, attempt: Attempt) -> Record:
        if record is None or record.gateway != attempt.gateway:
            raise UnknownAttempt(f"gateway {attempt.gateway!r} has no attempt {attempt.reference!r} in this shop")
        return record

    def apply_all(self, order: R, rulings: Sequence[Ruling]) -> bool:
        """Book the verdicts on the attempts of a locked order; return whether the order is paid by one of them.

        Money first, so that an order that one attempt pays is not lapsed because another attempt was closed. The order
        is read again for each further ruling: the hooks may have written into the row alone, or only into the object.
        """
        key = self._rows.key_of(order)
        settled: list[Settled] = []
        for ruling in sorted(rulings, key=lambda ruling: ruling.verdict is not Verdict.PAID):
            settled.append(self.apply(self._locked(key) if settled else order, ruling))
        return Settled.PAID in settled or Settled.REINSTATED in settled


class _NoStock(Exception):
    """Ends the transaction of a reinstatement that did not work."""
