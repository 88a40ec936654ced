"""The records in Django's admin. What orders and deadlines decide is read there, and never written by hand."""

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from shop.catalogue.models import Product
from shop.console.models import Restock, WorkerPulse
from shop.orders.models import AuditEntry, Line, Order
from shop.payments.models import GatewayMessage, PaymentAttempt
from shop.statistics.models import Tally


class ReadOnly:
    """Nothing of it is added, changed or removed by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        del request, obj
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        del request, obj
        return False


class Lines(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]  # a type for the checker alone
    """The lines of an order."""

    model = Line
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        """Who sees the order sees its lines."""
        del obj
        return bool(request.user.has_perm("orders.view_order"))


class Trail(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]  # a type for the checker alone
    """The trail of an order."""

    model = AuditEntry
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        """Who sees the order sees its trail."""
        del obj
        return bool(request.user.has_perm("orders.view_order"))


@admin.register(Order)
class Orders(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """Orders to look at. Cancelling is done in the console, where the stock comes back with it."""

    list_display = ("public_id", "buyer", "status", "cancel_reason", "total", "placed_at", "pay_by")
    list_filter = ("status", "cancel_reason")
    list_select_related = ("buyer",)
    search_fields = ("public_id__startswith", "buyer__username__startswith")
    ordering = ("-id",)
    show_full_result_count = False
    inlines = (Lines, Trail)


@admin.register(PaymentAttempt)
class PaymentAttempts(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """Attempts to pay."""

    list_display = ("out_trade_no", "order", "gateway", "amount", "state", "made_at", "changed_at")
    list_filter = ("state", "gateway")
    search_fields = ("out_trade_no__startswith", "order__public_id__startswith")
    list_select_related = ("order",)
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(GatewayMessage)
class GatewayMessages(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """What gateways have said, word for word, and whether it was believed."""

    list_display = ("heard_at", "provider", "judged", "trade_status", "out_trade_no", "trade_no")
    list_filter = ("judged", "provider")
    search_fields = ("out_trade_no__startswith", "trade_no__startswith")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(Tally)
class Tallies(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """The figures of each day: they change with the orders."""

    list_display = ("day", "event", "count", "amount")
    list_filter = ("event",)


@admin.register(Product)
class Products(admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """Names, texts and prices. Pieces come in by the console, under the rules of the stock."""

    list_display = ("sku", "name", "price", "on_hand", "held")
    search_fields = ("sku", "name")

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> tuple[str, ...]:
        """`on_hand` can be written once, with a new product; `held` never."""
        del request
        return ("held",) if obj is None else ("sku", "on_hand", "held")

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: Any) -> None:  # noqa: ANN401  # Django's
        """Write the fields that the form has, so that a sale at the same moment keeps its stock."""
        del request
        obj.save(update_fields=form.changed_data if change else None)


@admin.register(Restock)
class Restocks(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """The trail of pieces that were added or taken away."""

    list_display = ("at", "product", "pieces", "who")
    list_select_related = ("product", "who")


@admin.register(WorkerPulse)
class Workers(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """The workers as they were last heard of."""

    list_display = ("host", "pid", "mechanism", "started_at", "seen_at", "handled", "latest_ms")
