"""What a person decides about an attempt of the work list: pure functions of the attempt and its order.

Each returns the attempt unchanged if the decision comes too late, or does not fit: then nothing happens. `seen` is what
the person saw, the state or the alarm: a decision about anything else is not carried out.
"""

from dataclasses import replace

from lapse.orders.late_money import WAITING, AttemptState, Booking, Effect, OrderState, Record

LONGEST_REASON = 500
"""An attempt's row stores reasons up to this length."""


def refund(record: Record, _order: OrderState) -> Booking:
    """Return the booking of a decision to refund an attempt in review. Any other attempt stays as it is."""
    if record.state is not AttemptState.REVIEW:
        return Booking(record)
    return Booking(replace(record, state=AttemptState.REFUND_DUE, alarm=record.lasting_alarm))


def reinstate(record: Record, order: OrderState, *, seen: AttemptState | None = None) -> Booking:
    """Return the booking of a decision that money which waits pays its order, if the order can take it.

    The money must be the amount due. A refund that the gateway was asked for may be carried out at any time, so from
    then on the money pays no order.
    """
    effect = {OrderState.UNPAID: Effect.PAY, OrderState.CANCELLED: Effect.REINSTATE}.get(order)
    if effect is None or not _free(record) or record.kept != record.amount or seen not in (None, record.state):
        return Booking(record)
    after = replace(record, state=AttemptState.SUCCEEDED, alarm=record.lasting_alarm)
    return Booking(after, effect, or_nothing=True)


def write_off(record: Record, _order: OrderState, *, reason: str, seen: AttemptState | None = None) -> Booking:
    """Return the booking of a decision that the shop keeps the money of an attempt, for this reason.

    Without money: the gateway reports a payment that cannot be booked, and a person has dealt with it. The attempt then
    holds its order no longer. The gateway is still asked about it, because another payment may come.
    """
    if seen not in (None, record.state):
        return Booking(record)
    if _free(record):
        state = AttemptState.WRITTEN_OFF
    elif record.alarm and record.paid is None:
        state = AttemptState.CLOSED
    else:
        return Booking(record)
    return Booking(replace(record, state=state, written_off=reason, alarm=record.lasting_alarm))


def remove_alarm(record: Record, _order: OrderState, *, seen: str | None = None) -> Booking:
    """Return the booking of a decision that an alarm needs no person any more. Money in review still needs one."""
    stays = record.state is AttemptState.REVIEW or seen not in (None, record.alarm)
    return Booking(record if stays else replace(record, alarm=""))


def _free(record: Record) -> bool:
    """Return whether the shop has money that waits, and no refund of it can be under way."""
    return record.state in WAITING and record.refunding is None
