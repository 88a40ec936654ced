"""How the small shop's orders lapse."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from django.db.models import Case, F, Q, Sum, When
from django.db.models.functions import Now

from lapse.integrations.django import UnpaidOrders
from lapse.orders import Attempt, OrderBatch, Ruling, Verdict
from tests.django.adopter.models import Line, Order, PayAttempt, Product


def _watch_nothing(_: OrderBatch[Order]) -> None:
    """Do nothing."""


class AdopterOrders(UnpaidOrders[Order]):
    """One subclass is all that a shop writes. `watch` lets a test stand in the middle of the transaction."""

    model = Order
    unpaid = Q(status__in=["awaiting", "closing"])
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled", "cancelled_at": Now()}
    closing: ClassVar[dict[str, object]] = {"status": "closing"}
    reason_field = "reason"

    def __init__(self) -> None:
        self.watch: Callable[[OrderBatch[Order]], None] = _watch_nothing

    def on_lapse(self, orders: OrderBatch[Order]) -> None:
        """Make the stock available in one statement."""
        held = Line.objects.filter(order__in=orders).values("product_id").annotate(total=Sum("quantity"))
        back = {line["product_id"]: line["total"] for line in held}
        if back:
            cases = [When(pk=product, then=F("stock") + quantity) for product, quantity in back.items()]
            Product.objects.filter(pk__in=back).update(stock=Case(*cases))
        self.watch(orders)

    def open_attempts(self, orders: Sequence[Order]) -> Sequence[Attempt]:
        """Return the attempts that can still be paid."""
        rows = PayAttempt.objects.filter(order__in=orders, state="open").order_by("pk")
        return [Attempt(str(row.order_id), row.number, "till") for row in rows]

    def on_ruling(self, order: Order, rulings: Sequence[Ruling]) -> bool:
        """Write the verdicts down; money makes the order paid if it still waits."""
        for ruling in rulings:
            if ruling.verdict is not Verdict.UNKNOWN:
                PayAttempt.objects.filter(number=ruling.attempt.reference).update(state=ruling.verdict.value)
        if any(ruling.verdict is Verdict.PAID for ruling in rulings):
            return pay(order.pk)
        return False


def pay(pk: int) -> bool:
    """Make the payment's own transition; return whether it won."""
    return bool(Order.objects.filter(pk=pk, status__in=["awaiting", "closing"]).update(status="paid", reason=""))
