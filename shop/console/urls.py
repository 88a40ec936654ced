"""The addresses of the console."""

from django.urls import path

from shop.console import buried, orders, overview, stock

urlpatterns = [
    path("", overview.overview, name="console"),
    path("statistics/", overview.days, name="console-days"),
    path("orders/", orders.found, name="console-orders"),
    path("orders/<slug:public_id>/", orders.one, name="console-order"),
    path("orders/<slug:public_id>/cancel/", orders.cancel_by_hand, name="console-cancel"),
    path("stock/", stock.shelves, name="console-stock"),
    path("stock/audit/", stock.check, name="console-audit"),
    path("stock/<str:sku>/restock/", stock.restock, name="console-restock"),
    path("buried/", buried.graves, name="console-buried"),
    path("buried/revive/", buried.revive, name="console-revive"),
]
