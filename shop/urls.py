"""Every address of the shop."""

from django.urls import path

from shop.api.app import api
from shop.pages import accounts, figures, missing, orders, paying, products
from shop.payments.webhook import cancel_order

urlpatterns = [
    path("", products.shelf, name="products"),
    path("orders/", orders.mine, name="orders"),
    path("orders/place/", orders.place_order, name="place-order"),
    path("orders/<slug:public_id>/", orders.one, name="order"),
    path("orders/<slug:public_id>/status/", orders.status, name="order-status"),
    path("orders/<slug:public_id>/cancel/", orders.cancel_order, name="cancel-order"),
    path("orders/<slug:public_id>/pay/", orders.pay_order, name="pay-order"),
    path("pay/<slug:out_trade_no>/", paying.development_pay, name="development-pay"),
    path("payment/cancel_order/", cancel_order, name="webhook-cancel-order"),
    path("sign-up/", accounts.sign_up_page, name="sign-up"),
    path("sign-in/", accounts.sign_in_page, name="sign-in"),
    path("sign-out/", accounts.sign_out, name="sign-out"),
    path("statistics/", figures.statistics, name="statistics"),
    path("api/", api.urls),
]
handler404 = missing.not_found
