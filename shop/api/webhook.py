"""POST /payment/cancel_order/ with {"order_id": …}: a timer outside the shop reports that an order is due."""

import binascii
import json
import logging

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from shop.orders.models import Order, Status
from shop.orders.refusals import AlreadyPaid
from shop.orders.transitions import cancel_for_shop

log = logging.getLogger("shop.api")


@csrf_exempt
def cancel_order(request: HttpRequest) -> JsonResponse:
    """Cancel one unpaid order for a caller that has signed the call; return the result. Repeating it changes nothing.

    An order past its deadline, by the database's clock, lapses (reason `expired`). An order that is not due is
    cancelled too, because the signature proves the merchant's authority (reason `merchant`).

    405 wrong method; 401 unsigned, before any other answer; 400 no JSON or no `order_id`; 404 unknown;
    409 paid; 503 the gateway or the order's row was busy, call again; 200 cancelled, now or before.
    """
    order_id = _order_id(request)
    if isinstance(order_id, JsonResponse):
        return order_id
    order = Order.objects.filter(public_id=order_id).first()
    if order is None:
        return _answer(404, "unknown", "There is no such order.", order_id)
    before = order.status == Status.CANCELLED
    try:
        order = cancel_for_shop(order, who="system webhook")
    except AlreadyPaid:
        return _answer(409, "paid", "The order is paid.", order_id)
    if order.status != Status.CANCELLED:
        log.warning("the payment gateway did not answer whether order %s is paid; the order stays closing", order_id)
        return _answer(503, "closing", "The order is being closed. Call again.", order_id, {"Retry-After": "5"})
    message = "The order was cancelled before." if before else "The order is cancelled."
    return _answer(200, "cancelled", message, order_id)


def _order_id(request: HttpRequest) -> str | JsonResponse:
    """Return the order's id from a signed call, or the answer that refuses the call."""
    if request.method != "POST":
        return _answer(405, "method_not_allowed", "Send a POST.", headers={"Allow": "POST"})
    if not _is_signed(request):
        return _answer(401, "unsigned", "The call is not signed by the shop's secret, or is too old.")
    try:
        body = json.loads(request.body)
    except ValueError:
        return _answer(400, "bad_request", "The body is not JSON.")
    order_id = body.get("order_id") if isinstance(body, dict) else None
    # PostgreSQL refuses a zero character in a text, so no order's id has one.
    if not isinstance(order_id, str) or not order_id or "\0" in order_id:
        return _answer(400, "bad_request", "The body has no order_id.")
    return order_id


def _is_signed(request: HttpRequest) -> bool:
    """Return whether the body was signed with the shop's secret within the last five minutes, by Standard Webhooks.

    Without a secret no call is signed.
    """
    if not settings.LAPSE_WEBHOOK_SECRET:
        return False
    try:
        Webhook(settings.LAPSE_WEBHOOK_SECRET).verify(request.body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError, binascii.Error):
        # The library raises ValueError for a garbled signature and for a body that is not text.
        return False
    return True


def _answer(
    code: int, status: str, message: str, order_id: str | None = None, headers: dict[str, str] | None = None
) -> JsonResponse:
    body = {"status": status, "message": message} | ({"order_id": order_id} if order_id else {})
    return JsonResponse(body, status=code, headers=headers)
