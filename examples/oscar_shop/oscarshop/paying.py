from lapse.integrations.django import NotUnpaid, unpaid_orders
from oscar.core.loading import get_class, get_model

EventHandler = get_class("order.processing", "EventHandler")
PaymentEventType = get_model("order", "PaymentEventType")
Source = get_model("payment", "Source")
SourceType = get_model("payment", "SourceType")


class WrongAmount(Exception):
    """The money is not what the order costs. Nothing was changed."""


def pay(number, amount, reference):
    """Record the money that a gateway took for the order, after the gateway's notification has been verified.

    The same payment may be notified twice. Raises NotUnpaid if the order was cancelled, or paid by another payment:
    give the money back. Raises WrongAmount.
    """
    source_type, _ = SourceType.objects.get_or_create(code="card", defaults={"name": "Card"})
    event_type, _ = PaymentEventType.objects.get_or_create(code="paid", defaults={"name": "Paid"})
    try:
        with unpaid_orders().hold(number) as order:
            if amount != order.total_incl_tax:
                raise WrongAmount(f"order {number} costs {order.total_incl_tax}, not {amount}")
            source = Source(order=order, source_type=source_type, currency=order.currency, reference=reference)
            source.allocate(amount, reference=reference)
            source.debit(amount, reference=reference)
            lines = order.lines.all()
            handler = EventHandler()
            handler.handle_payment_event(
                order, event_type, amount, lines, [line.quantity for line in lines], reference=reference
            )
            handler.handle_order_status_change(order, "Being processed")
    except NotUnpaid:
        if not Source.objects.filter(order__number=number, reference=reference).exists():
            raise
