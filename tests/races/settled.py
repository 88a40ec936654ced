"""What is true of each attempt once everything has settled: the shop's row beside what the provider knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from lapse.integrations.django.attempts import AbstractPaymentAttempt, State
from lapse.orders import LateMoney
from lapse.orders.late_money import OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """An attempt and its order's status in the shop; what was paid and refunded at the provider.

    `by_console`: a person has refunded money at the provider's own console.
    """

    attempt: AbstractPaymentAttempt
    status: str
    paid: Decimal | None
    back: Decimal
    by_console: bool


def assert_settled(books: Sequence[Books], policy: LateMoney) -> None:
    """Assert that all money is on a paid order, or refunded, or on the work list."""
    for one in books:
        attempt, state = one.attempt, one.attempt.state
        kept = (one.paid or 0) - one.back
        assert kept >= 0, f"refunded twice: {one}"
        assert one.status in ("paid", "cancelled"), one
        assert state not in OPEN, f"may still be paid: {one}"
        match state:
            case State.SUCCEEDED:
                assert one.status == "paid", one
                assert one.paid == attempt.amount, f"does not pay its order: {one}"
                assert attempt.refunded == one.back, f"a refund is not counted: {one}"
                assert kept > 0, one
            case State.REVIEW:
                assert attempt.alarm, one
                assert policy is LateMoney.REVIEW or one.by_console, f"{one}: {attempt.alarm}"
            case _:
                assert kept == 0, f"the shop does not see the money: {one}"
                assert state == (State.CLOSED if one.paid is None else State.REFUNDED), one
