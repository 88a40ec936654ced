"""The API and its routes; the documentation is at /api/docs."""

from ninja import NinjaAPI

from shop.api import buyers, more_time, orders, products, statistics
from shop.api.problems import add_handlers

api = NinjaAPI(
    title="The shop",
    version="1",
    description=(
        "Place an order, then pay it or let it lapse: an order that is not paid by `pay_by` is cancelled, "
        "and its stock is released. Errors are problem documents (RFC 9457)."
    ),
)
add_handlers(api)
api.add_router("", buyers.router)
api.add_router("", products.router)
api.add_router("", more_time.router)
api.add_router("", orders.router)
api.add_router("", statistics.router)
