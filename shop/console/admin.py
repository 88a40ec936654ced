"""The records in Django's admin. What orders and deadlines decide can be read there, and never written by hand."""

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from shop.catalogue.models import Product
from shop.console.models import Restock, WorkerHeartbeat
from shop.orders.models import AuditEntry, Line, Order
from shop.payments.models import GatewayMessage, PaymentAttempt
from shop.statistics.models import Tally


class ReadOnly:
    """Records that are never added, changed or removed by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False."""
        del request, obj
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False."""
        del request, obj
        return False


class Lines(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]  # a type for the checker alone
    """The lines of an order."""

    model = Line
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        """Return True if the user may see the order."""
        del obj
        return bool(request.user.has_perm("orders.view_order"))


class AuditTrail(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]  # a type for the checker alone
    """The audit trail of an order."""

    model = AuditEntry
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        """Return True if the user may see the order."""
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
    inlines = (Lines, AuditTrail)


@admin.register(PaymentAttempt)
class PaymentAttempts(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """Attempts to pay."""

    list_display = ("reference", "order", "gateway", "amount", "state", "made_at", "changed_at")
    list_filter = ("state", "gateway")
    search_fields = ("reference__startswith", "order__public_id__startswith")
    list_select_related = ("order",)
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(GatewayMessage)
class GatewayMessages(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """The gateways' messages, word for word, and whether each was accepted."""

    list_display = ("received_at", "provider", "judged", "status", "reference", "provider_reference")
    list_filter = ("judged", "provider")
    search_fields = ("reference__startswith", "provider_reference__startswith")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(Tally)
class Tallies(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """The statistics of each day: they change with the orders."""

    list_display = ("day", "event", "count", "amount")
    list_filter = ("event",)


@admin.register(Product)
class Products(admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """Names, texts and prices. Pieces are added in the console, under the rules of the stock."""

    list_display = ("sku", "name", "price", "on_hand", "held")
    search_fields = ("sku", "name")

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> tuple[str, ...]:
        """Return the fields that cannot be written: `on_hand` once the product exists, and `held` always."""
        del request
        return ("held",) if obj is None else ("sku", "on_hand", "held")

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: Any) -> None:  # noqa: ANN401  # Django's
        """Write only the changed fields, so that a sale at the same moment keeps its stock."""
        del request
        obj.save(update_fields=form.changed_data if change else None)


@admin.register(Restock)
class Restocks(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """The pieces that were added or taken away."""

    list_display = ("at", "product", "pieces", "who")
    list_select_related = ("product", "who")


@admin.register(WorkerHeartbeat)
class Workers(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # a type for the checker alone
    """The workers' last heartbeats."""

    list_display = ("host", "pid", "mechanism", "started_at", "seen_at", "handled", "latest_ms")
