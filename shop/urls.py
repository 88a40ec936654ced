"""Every address of the shop."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from django.views.i18n import set_language

from shop.api.app import api
from shop.api.webhook import cancel_order
from shop.console import buried, decisions, holders, money, more_time, outbox, overview, payment, stock
from shop.console import orders as console_orders
from shop.live import streams
from shop.pages import accounts, errors, orders, shopping
from shop.payments import alipay_views

console = [
    path("", overview.overview, name="console"),
    path("statistics/", overview.statistics, name="console-statistics"),
    path("orders/", console_orders.search, name="console-orders"),
    path("orders/more-time/", more_time.many, name="console-more-time"),
    path("orders/<slug:public_id>/", console_orders.show, name="console-order"),
    path("orders/<slug:public_id>/extend/", more_time.extend_order, name="console-extend"),
    path("orders/<slug:public_id>/revive/", more_time.revive_order, name="console-revive-order"),
    path("orders/<slug:public_id>/cancel/", console_orders.cancel_by_hand, name="console-cancel"),
    path("money/", money.work_list, name="console-money"),
    path("money/<slug:reference>/", payment.show, name="console-payment"),
    path("money/<slug:reference>/ask/", decisions.ask_now, name="console-money-ask"),
    path("money/<slug:reference>/refund/", decisions.refund, name="console-money-refund"),
    path("money/<slug:reference>/reinstate/", decisions.reinstate, name="console-money-reinstate"),
    path("money/<slug:reference>/write-off/", decisions.write_off, name="console-money-write-off"),
    path("money/<slug:reference>/alarm/", decisions.remove_alarm, name="console-money-alarm"),
    path("money/<slug:reference>/assign/", decisions.assign, name="console-money-assign"),
    path("money/<slug:reference>/note/", decisions.write_note, name="console-money-note"),
    path("holders/", holders.holders, name="console-holders"),
    path("stock/", stock.stock, name="console-stock"),
    path("stock/audit/", stock.check, name="console-audit"),
    path("stock/<str:sku>/restock/", stock.restock, name="console-restock"),
    path("messages/", outbox.sent_messages, name="console-outbox"),
    path("messages/<int:pk>/send/", outbox.send_once_more, name="console-outbox-send"),
    path("messages/<int:pk>/give-up/", outbox.give_message_up, name="console-outbox-give-up"),
    path("buried/", buried.buried_deadlines, name="console-buried"),
    path("buried/revive/", buried.revive, name="console-revive"),
]
urlpatterns = [
    path("", shopping.products_page, name="products"),
    path("products/<path:sku>/", shopping.product_page, name="product"),
    path("stock/events/", streams.stock_events, name="stock-events"),
    path("cart/", shopping.cart_page, name="cart"),
    path("cart/add/", shopping.add, name="cart-add"),
    path("checkout/", shopping.checkout, name="checkout"),
    path("orders/", orders.my_orders, name="orders"),
    path("orders/events/", streams.my_orders_events, name="orders-events"),
    path("orders/place/", orders.place_order, name="place-order"),
    path("orders/<slug:public_id>/", orders.show, name="order"),
    path("orders/<slug:public_id>/status/", orders.status, name="order-status"),
    path("orders/<slug:public_id>/events/", streams.order_events, name="order-events"),
    path("orders/<slug:public_id>/again/", orders.order_again, name="order-again"),
    path("orders/<slug:public_id>/cancel/", orders.cancel_order, name="cancel-order"),
    path("orders/<slug:public_id>/pay/", orders.pay_order, name="pay-order"),
    path("pay/<slug:reference>/", orders.development_pay, name="development-pay"),
    path("payment/alipay/notify/", alipay_views.notify, name="alipay-notify"),
    path("payment/alipay/return/", alipay_views.returned, name="alipay-return"),
    path("payment/cancel_order/", cancel_order, name="webhook-cancel-order"),
    path("sign-up/", accounts.sign_up_page, name="sign-up"),
    path("sign-in/", accounts.sign_in_page, name="sign-in"),
    path("sign-out/", accounts.sign_out, name="sign-out"),
    path("language/", set_language, name="set-language"),
    path("statistics/", RedirectView.as_view(pattern_name="console-statistics"), name="statistics"),
    path("console/", include(console)),
    path("admin/", admin.site.urls),
    path("api/", api.urls),
]
handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.failed
