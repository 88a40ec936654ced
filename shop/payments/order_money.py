"""What became of the money of one order, for the order's page. No sentence there may be false about money."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lapse.orders import AttemptState
from shop.orders.models import Order, Reason, Status
from shop.payments.models import PaymentAttempt
from shop.statistics.models import Reinstatement

NONE = Decimal(0)


@dataclass(frozen=True, slots=True)
class OrderMoney:
    """The money of an order's attempts. Amounts are in yuan; 0: no such money.

    `refund_due` is being refunded, `refunded` has gone back, and `review` waits for a person's decision. `wrong` is the
    amount of a payment that was not the amount due. `asks` names the gateway that is still asked whether an attempt of
    a cancelled order was paid; "": no attempt can have money that the shop does not know of. `reinstates`: money that
    comes now may reinstate the order. `reinstated`: late money has done so. `returned`: the order was paid, and all of
    that money has gone back. `refunds` are the refunded amounts of each attempt, with the time if all of it went back.
    `written_off` are the amounts that the shop keeps, with its reasons; 0: a report of money that could not be booked.
    `checking`: the shop looks at a report about a payment.
    """

    refund_due: Decimal
    refunded: Decimal
    review: Decimal
    wrong: Decimal
    asks: str
    reinstates: bool
    reinstated: bool
    returned: bool
    refunds: list[tuple[Decimal, datetime | None]]
    written_off: list[tuple[Decimal, str]]
    checking: bool

    @property
    def received(self) -> bool:
        """Whether money has come that does not pay the order now."""
        return bool(self.refund_due or self.refunded or self.review or self.written_off or self.checking)

    @property
    def moving(self) -> bool:
        """Whether a sentence about the money may become another one without the buyer."""
        return bool(self.asks or self.refund_due or self.review or self.checking)

    @property
    def version(self) -> str:
        """What changes whenever a sentence about the money changes: an open page then updates itself."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


def money_of(order: Order) -> OrderMoney:
    """Return what became of the order's money, as the rows of its attempts say."""
    attempts = list(order.attempts.all())
    states = {AttemptState(attempt.state) for attempt in attempts}
    paid, cancelled = order.status == Status.PAID, order.status == Status.CANCELLED
    return OrderMoney(
        refund_due=_kept(attempts, AttemptState.REFUND_DUE),
        refunded=sum((attempt.refunded for attempt in attempts), NONE),
        review=_kept(attempts, AttemptState.REVIEW),
        wrong=next((one.paid for one in attempts if one.paid is not None and one.paid != one.amount), NONE),
        asks=next((one.gateway for one in attempts if cancelled and _may_have_money(one)), ""),
        reinstates=order.cancel_reason == Reason.EXPIRED,
        # A merchant who revives an order gives it a new deadline, so that one is not over.
        reinstated=paid and Reinstatement.objects.filter(order=order.pk, at__gt=order.pay_by).exists(),
        returned=paid and AttemptState.REFUNDED in states and AttemptState.SUCCEEDED not in states,
        refunds=[(one.refunded, _refunded_at(one)) for one in attempts if one.refunded],
        written_off=[(one.kept, one.written_off) for one in attempts if _is_written_off(one)],
        checking=any(one.alarm and one.state != AttemptState.REVIEW for one in attempts),
    )


def _is_written_off(attempt: PaymentAttempt) -> bool:
    """Return whether the reason of a merchant is the last word about this attempt. Later money makes it void."""
    without_money = attempt.written_off != "" and attempt.paid is None
    return attempt.state == AttemptState.WRITTEN_OFF or without_money


def _refunded_at(attempt: PaymentAttempt) -> datetime | None:
    """Return when the money went back. The parts of a refund have gone back at different times, so they have none."""
    return attempt.state_at if attempt.state == AttemptState.REFUNDED else None


def _kept(attempts: list[PaymentAttempt], state: AttemptState) -> Decimal:
    """Return what the shop still has of the money of the attempts in this state."""
    return sum((one.kept for one in attempts if one.state == state), NONE)


def _may_have_money(attempt: PaymentAttempt) -> bool:
    """Return whether the gateway is still asked if the attempt was paid."""
    return attempt.paid is None and (AttemptState(attempt.state).open or attempt.ask_at is not None)
