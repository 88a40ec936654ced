"""How this shop's orders lapse, and what becomes of money: all that the package `lapse` needs to know about them."""

from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.db.models.functions import Now

from lapse.integrations.django import UnpaidOrders
from lapse.orders import AttemptState, OrderBatch, Record
from shop.orders import stock, transitions
from shop.orders.events import Actor, ActorKind, What
from shop.orders.messages import announce
from shop.orders.models import UNPAID, AuditEntry, Order, Reason, Status
from shop.payments.gateways import GATEWAYS
from shop.payments.models import PaymentAttempt
from shop.statistics.corrections import record_refund
from shop.statistics.days import count
from shop.windows import usual_window


class ShopOrders(UnpaidOrders[Order]):
    """Unpaid orders of the shop. Who begins to cancel an order keeps the reason, even if the timer finishes it."""

    model = Order
    attempts = PaymentAttempt
    key = "public_id"
    unpaid = UNPAID
    deadline = "pay_by"
    grace = settings.LAPSE_GRACE
    remind = settings.LAPSE_REMIND
    reminded = "reminded_of"
    closing: ClassVar = {"status": Status.CLOSING}
    reopened: ClassVar = {"status": Status.AWAITING_PAYMENT}
    lapsed: ClassVar = {"status": Status.CANCELLED, "cancelled_at": Now()}
    reason_field = "cancel_reason"
    gateways = GATEWAYS
    windows: ClassVar = {settings.SHOP_GATEWAY: usual_window()}

    def on_lapse(self, orders: OrderBatch[Order]) -> None:
        """Release the stock, write the audit trail and count: a few statements for any number of orders."""
        stock.release([order.pk for order in orders])
        AuditEntry.record(orders, What.CANCELLED, _actor_of(orders), reason=orders.reason)
        announce("lapsed" if orders.reason == Reason.EXPIRED else "cancelled", orders)
        count((order.cancelled_at, orders.reason, order.total) for order in orders if order.cancelled_at is not None)

    def on_closing(self, orders: OrderBatch[Order]) -> None:
        """Write into the audit trail who began to cancel."""
        AuditEntry.record(orders, What.CLOSING, _actor_of(orders), reason=orders.reason)

    def on_reopened(self, orders: OrderBatch[Order]) -> None:
        """Write into the audit trail that these orders can be paid again."""
        AuditEntry.record(orders, What.REOPENED, _actor_of(orders), reason="more_time")

    def on_extended(self, orders: OrderBatch[Order]) -> None:
        """Write into the audit trail who gave these orders more time, and until when."""
        AuditEntry.record(orders, What.EXTENDED, orders.actor, detail=_until(orders))
        announce("extended", orders)

    def on_revived(self, orders: OrderBatch[Order]) -> None:
        """Write into the audit trail who revived the order, and until when. `reinstate` has counted it."""
        for order in orders:
            order.recorded = Status.CANCELLED  # the row was read again after `reinstate`, which writes no entry
        AuditEntry.record(orders, What.REVIVED, orders.actor, detail=_until(orders))
        announce("reinstated", orders)

    def on_remind(self, orders: OrderBatch[Order]) -> None:
        """Announce to the buyers that their time to pay ends soon, and write it into the audit trail."""
        AuditEntry.record(orders, What.REMINDED, _actor_of(orders))
        announce("expiring", orders)

    def on_paid(self, order: Order, attempt: Record) -> None:
        """Make the order paid and sell what it holds. If its last entry is the cancel, this money has reinstated it."""
        if order.recorded == Status.CANCELLED:
            AuditEntry.record([order], What.REINSTATED, Actor(ActorKind.SYSTEM), reason="late_money")
            announce("reinstated", Order.objects.filter(pk=order.pk))
        transitions.pay(order, who=Actor(ActorKind.GATEWAY, attempt.gateway))

    def was_cancelled(self, order: Order) -> bool:
        """Return whether the order was cancelled. Otherwise it is paid."""
        return order.status == Status.CANCELLED

    def reinstate(self, order: Order) -> bool:
        """Hold the stock of an expired order again, if all of it is there, and return whether it is held."""
        return transitions.reinstate(order)

    def on_refunded(self, order: Order, attempt: Record, amount: Decimal) -> None:
        """Count the refund. The order stays paid, so it is never due again."""
        record_refund(order.pk, reference=attempt.reference, amount=amount)

    def on_attempt(self, order: Order, before: Record, after: Record) -> None:
        """Write each change of an attempt into the audit trail: its state, money that went back, and an alarm.

        What a person decides about a payment is written by the page that asks the person.
        """
        waited = before.state in (AttemptState.REVIEW, AttemptState.REFUND_DUE)
        refund = before.state is AttemptState.REVIEW and after.state is AttemptState.REFUND_DUE
        reinstate = waited and after.state is AttemptState.SUCCEEDED
        decided = refund or reinstate or after.written_off != before.written_off
        back = after.refunded - before.refunded
        alarm = after.alarm if after.alarm != before.alarm else ""
        if back:
            what = What.REFUNDED
            announce("refunded", [order], amount=back, reference=after.reference)
        elif after.state is not before.state:
            what = What.ATTEMPT
        else:
            what = What.ALARM
        if not decided and (what is not What.ALARM or alarm):
            by = Actor(ActorKind.GATEWAY, after.gateway)
            AuditEntry.record_attempt(order, what, by, after, before=before.state, refunded=back or None, detail=alarm)


def _actor_of(orders: OrderBatch[Order]) -> Actor:
    """Return who changed these orders. A visitor's read that found overdue orders is not the worker."""
    return Actor(ActorKind.READER) if orders.on_read else Actor.read(orders.actor)


def _until(orders: OrderBatch[Order]) -> str:
    """Return the deadline that all of these orders were given by one call."""
    return f"{orders[0].pay_by:%Y-%m-%d %H:%M:%S} UTC"
