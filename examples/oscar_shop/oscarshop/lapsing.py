from itertools import groupby
from operator import attrgetter

from django.conf import settings
from django.db.models import Q
from lapse.integrations.django import Since, UnpaidOrders
from oscar.core.loading import get_class, get_model

Order = get_model("order", "Order")
Line = get_model("order", "Line")
EventHandler = get_class("order.processing", "EventHandler")


class OscarOrders(UnpaidOrders[Order]):
    model = Order
    unpaid = Q(status="Pending")
    deadline = Since("date_placed", seconds=settings.PAY_WITHIN)
    key = "number"

    def transition(self, order):
        # Oscar's own transition: statuses of the order and its lines, the signal, the OrderStatusChange, the note.
        EventHandler().handle_order_status_change(order, "Cancelled", note_msg="It was not paid in time.")

    def on_lapse(self, orders):
        # Oscar cancels no allocation by itself. Each stock record is locked once, and last, because sales wait for it;
        # and in the sequence of Oscar's checkout, so that a lapse and a sale never wait for each other in a circle.
        lines = Line.objects.filter(order__in=orders, stockrecord__isnull=False).order_by("stockrecord_id")
        lines = lines.select_related(
            "stockrecord__product__product_class", "stockrecord__product__parent__product_class"
        )
        lines = [line for line in lines if line.can_track_allocations]
        Line.objects.filter(pk__in=[line.pk for line in lines]).update(num_allocated=0, allocation_cancelled=True)
        for record, of_record in groupby(lines, key=attrgetter("stockrecord")):
            record.cancel_allocation(sum(line.num_allocated for line in of_record))
