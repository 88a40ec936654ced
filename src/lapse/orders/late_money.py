"""What becomes of money: one pure function decides by the order, the attempt and the gateway's ruling."""

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from lapse.orders.gateway import Ruling, Verdict

MONEY = (Verdict.PAID, Verdict.REFUNDED)
NOTHING = Decimal(0)
LARGEST = Decimal(10) ** 13
"""An attempt's row stores amounts that are smaller."""
LONGEST_NUMBER = 64
"""An attempt's row stores numbers of payments up to this length."""
TWO_PAYMENTS = "two payments for one attempt: "
"""How the alarm about a second payment begins."""


class LateMoney(StrEnum):
    """What a shop does with money that comes after its order was cancelled."""

    REINSTATE = "reinstate"
    """If the stock is still there, the order is unpaid again and this money pays it. Otherwise, refund."""
    REFUND = "refund"
    """Refund every time."""
    REVIEW = "review"
    """A person decides. The same is then true for money of a wrong amount, and for money that came twice."""


class AttemptState(StrEnum):
    """The state of an attempt, as it is stored. Its order may be in any state."""

    CREATED = "created"
    PENDING = "pending"
    UNKNOWN = "unknown"
    """The gateway did not answer, or its answer decides nothing: the attempt may still be paid."""
    CLOSED = "closed"
    """Not paid, and the gateway says that it can no longer be paid. It is asked about a few more times."""
    FAILED = "failed"
    """Not paid: the provider refused the buyer's payment."""
    SUCCEEDED = "succeeded"
    """Paid, and its money pays the order."""
    REFUND_DUE = "orphaned"
    """Paid, and the money must be refunded, because no order can take it."""
    REFUNDED = "refunded"
    """Paid, and refunded in full. Nothing can follow."""
    REVIEW = "review"
    """Paid, and a person must decide what to do with the money."""
    WRITTEN_OFF = "kept"
    """Paid, and the shop keeps the money for the reason that a person has stated, as agreed with the buyer."""

    @property
    def open(self) -> bool:
        """Whether the attempt may still be paid."""
        return self in OPEN

    @property
    def has_money(self) -> bool:
        """Whether the shop holds money that the buyer paid by this attempt."""
        return self in HAS_MONEY


OPEN = frozenset({AttemptState.CREATED, AttemptState.PENDING, AttemptState.UNKNOWN})
WAITING = frozenset({AttemptState.REFUND_DUE, AttemptState.REVIEW})
"""Money that is not where it belongs."""
HAS_MONEY = WAITING | {AttemptState.SUCCEEDED, AttemptState.WRITTEN_OFF}


class OrderState(StrEnum):
    """What matters about an order when money comes."""

    UNPAID = "unpaid"
    """It can be paid, whether it is due or closing."""
    CANCELLED = "cancelled"
    """It was cancelled, and may be reinstated."""
    PAID = "paid"
    """It is neither: paid, or beyond that. More money for it came twice."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the shop has stored about an attempt. Amounts are in the currency's main unit.

    `amount` is what the buyer has to pay, `paid` what came (None: nothing yet), and `refunded` the part of it that was
    refunded. `refunding` is the amount of the refund that Lapse asked for: it is fixed by the first request. `alarm` is
    a sentence for the person who must look at the attempt, or "". `written_off` is the reason of the person who wrote
    the attempt off, or "". `asks` counts how often the gateway was asked since the attempt has this state.
    """

    reference: str
    order_key: str
    gateway: str
    state: AttemptState
    amount: Decimal
    paid: Decimal | None = None
    refunded: Decimal = NOTHING
    refunding: Decimal | None = None
    provider_reference: str = ""
    alarm: str = ""
    written_off: str = ""
    asks: int = 0

    @property
    def kept(self) -> Decimal:
        """What the shop still has of the buyer's money."""
        return (self.paid or NOTHING) - self.refunded

    @property
    def lasting_alarm(self) -> str:
        """The alarm about a second payment, or "". What the gateway reports about the first payment does not end it."""
        return self.alarm if self.alarm.startswith(TWO_PAYMENTS) else ""


class Effect(StrEnum):
    """What has to be done to the order, in the transaction that stores the record."""

    NONE = "none"
    PAY = "pay"
    """Make the unpaid order paid."""
    REINSTATE = "reinstate"
    """Reserve the stock of the cancelled order again and make it paid. Without stock, the money must be refunded."""
    REFUNDED = "refunded"
    """Money of a paid order was refunded: all of it, or a part."""


@dataclass(frozen=True, slots=True)
class Booking:
    """What to store about an attempt, and the effect on its order.

    `or_nothing`: if the cancelled order cannot be reinstated, nothing is changed. Otherwise its money is refunded.
    """

    record: Record
    effect: Effect = Effect.NONE
    or_nothing: bool = False


def takes_number(record: Record, ruling: Ruling) -> bool:
    """Return whether the ruling is about money, with the number of a payment for an attempt that has none yet."""
    is_new = ruling.provider_reference != "" and record.provider_reference == ""
    return is_new and ruling.verdict in MONEY and not _contradiction(record, ruling)


def book(  # noqa: PLR0911 - a case for each verdict
    record: Record,
    order: OrderState,
    ruling: Ruling,
    policy: LateMoney,
    *,
    number_taken: bool = False,
    money_was_known: bool = False,
) -> Booking:
    """Return what a ruling changes. `number_taken`: another attempt has the provider's number of this payment.

    `money_was_known`: the gateway was asked when the attempt had money. Otherwise its answer may be older than the
    report of the money, and then it says nothing.

    Rulings may come twice and in any sequence. Therefore nothing that is known is taken back: a refund is final, what
    was refunded only grows, and money that was counted is not counted again.
    """
    number = ruling.provider_reference
    if number_taken:
        return _alarm(record, f"payment {number} belongs to another attempt as well")
    if sentence := _contradiction(record, ruling):
        return _alarm(record, sentence)
    match ruling.verdict:
        case Verdict.PAID:
            return _paid(record, order, ruling, policy)
        case Verdict.REFUNDED:
            return _refunded(record, ruling)
        case Verdict.CLOSED if record.state.has_money and number:  # some providers call a refunded payment closed
            return _refunded(record, ruling)
        case Verdict.CLOSED | Verdict.ABSENT if record.state.has_money and money_was_known:  # it is another account
            return _alarm(record, f"the gateway does not know that {record.paid} was paid")
        case Verdict.CLOSED if record.state.open:
            return Booking(replace(record, state=AttemptState.CLOSED))
        case Verdict.UNKNOWN if record.state.open:
            return Booking(replace(record, state=AttemptState.UNKNOWN))
        case Verdict.OPEN if record.state.open:
            return Booking(replace(record, state=AttemptState.PENDING))
        case _:
            return Booking(record)


def _paid(  # noqa: PLR0911 - a case for each state
    record: Record, order: OrderState, ruling: Ruling, policy: LateMoney
) -> Booking:
    if record.state is AttemptState.REFUNDED:
        return Booking(record)
    paid = record.amount if ruling.amount is None else ruling.amount
    if paid <= 0:
        return _alarm(record, f"the gateway reported a payment of {paid}")
    refunded = max(record.refunded, ruling.refunded or NOTHING)
    if refunded >= paid:
        return _refunded(record, ruling)
    known = replace(
        record, paid=paid, refunded=refunded, provider_reference=ruling.provider_reference or record.provider_reference
    )
    if record.state.has_money:
        if ruling.amount is not None and record.paid is not None and ruling.amount != record.paid:
            return _alarm(record, f"the gateway reported that {record.paid} was paid, and now {ruling.amount}")
        more = refunded > record.refunded and record.state is AttemptState.SUCCEEDED
        return Booking(known, Effect.REFUNDED if more else Effect.NONE)
    if known.kept != record.amount:
        back = f", {refunded} of it refunded" if refunded else ""
        return Booking(_back(known, policy, f"{paid} was paid{back}, and {record.amount} was due"))
    match order, policy:
        case OrderState.UNPAID, _:
            return Booking(replace(known, state=AttemptState.SUCCEEDED), Effect.PAY)
        case OrderState.CANCELLED, LateMoney.REINSTATE:
            return Booking(replace(known, state=AttemptState.SUCCEEDED), Effect.REINSTATE)
        case OrderState.CANCELLED, _:
            return Booking(_back(known, policy, f"{paid} was paid after the order was cancelled"))
        case _:
            return Booking(_back(known, policy, f"{paid} was paid for an order that was paid before"))


def _back(record: Record, policy: LateMoney, why: str) -> Record:
    if policy is LateMoney.REVIEW:
        return replace(record, state=AttemptState.REVIEW, alarm=why)
    return replace(record, state=AttemptState.REFUND_DUE)


def _refunded(record: Record, ruling: Ruling) -> Booking:
    if record.state is AttemptState.REFUNDED:
        return Booking(record)
    paid = record.paid or ruling.amount or record.amount
    refunded = replace(
        record,
        state=AttemptState.REFUNDED,
        paid=paid,
        refunded=paid,
        provider_reference=ruling.provider_reference or record.provider_reference,
        alarm=record.lasting_alarm,
    )
    return Booking(refunded, Effect.REFUNDED if record.state is AttemptState.SUCCEEDED else Effect.NONE)


def _contradiction(record: Record, ruling: Ruling) -> str:
    """Return why the ruling cannot be booked, as a sentence for the person who must look, or ""."""
    number = ruling.provider_reference
    if number and record.provider_reference and number != record.provider_reference:
        return f"{TWO_PAYMENTS}{record.provider_reference} and {number[:LONGEST_NUMBER]}"
    if ruling.verdict not in MONEY:
        return ""
    if len(number) > LONGEST_NUMBER or not number.isprintable():
        return f"the gateway reported a payment whose number cannot be stored: {number[:LONGEST_NUMBER]!r}"
    for amount in (ruling.amount, ruling.refunded):
        if amount is not None and not (amount.is_finite() and abs(amount) < LARGEST):
            return f"the gateway reported an amount of {amount.normalize()}"
    return ""


def _alarm(record: Record, sentence: str) -> Booking:
    if record.written_off and record.paid is None:
        return Booking(record)  # a person has dealt with the reports of this attempt that cannot be booked
    return Booking(replace(record, alarm=record.lasting_alarm or sentence))


# When the gateway is asked about an attempt again.

FIRST = timedelta(minutes=1)
"""The gateway is asked about a new attempt after this time: by then most buyers have paid, and the notify has come."""

SOON = timedelta(seconds=5)
CLOSED_ASKS = 6
"""How often the gateway is asked about an attempt that it has closed: after 1, 5 and 25 minutes, 2, 10 and 52 hours.

Alipay repeats a notify for up to 25 hours."""


def ask_in(state: AttemptState, asks: int, *, order_waits: bool) -> timedelta | None:
    """Return when to ask the gateway again, or None for never.

    `asks` counts the questions since the state was reached. `order_waits`: the order waits for this payment, so that an
    open attempt is as it should be.
    """
    match state:
        case AttemptState.SUCCEEDED | AttemptState.REFUNDED | AttemptState.WRITTEN_OFF:
            return None
        case AttemptState.CLOSED | AttemptState.FAILED:
            return FIRST * 5**asks if asks < CLOSED_ASKS else None
        case AttemptState.REFUND_DUE:
            return _doubled(SOON, asks, most=timedelta(hours=1)) if asks else timedelta(0)
        case AttemptState.REVIEW:
            return _doubled(timedelta(minutes=10), asks, most=timedelta(hours=6))
        case _ if order_waits:
            return _doubled(FIRST, asks, most=timedelta(minutes=10))
        case _:
            return _doubled(SOON, asks, most=timedelta(minutes=5)) if asks else timedelta(0)


def _doubled(first: timedelta, times: int, *, most: timedelta) -> timedelta:
    return min(first * (1 << min(times, 32)), most)
