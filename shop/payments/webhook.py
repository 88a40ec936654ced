"""POST /payment/cancel_order/ with {"order_id": …}: how a timer elsewhere says that an order's time is over."""

import json
import logging

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from shop.orders.cancelling import cancel_for_shop
from shop.orders.models import Order, Status
from shop.orders.refusals import AlreadyPaid
from shop.payments.signature import signed

log = logging.getLogger("shop.payments")


@csrf_exempt
def cancel_order(request: HttpRequest) -> JsonResponse:
    """Cancel one unpaid order for a caller that has signed the call. Repeating it changes nothing.

    An order whose deadline is past, by the database's clock, lapses (reason `expired`). One that is not due is
    cancelled all the same, because the signature is the merchant's word (reason `merchant`).

    405 wrong method; 401 unsigned, before anything else is said; 400 no JSON or no `order_id`; 404 unknown;
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
        order = cancel_for_shop(order, who="webhook")
    except AlreadyPaid:
        return _answer(409, "paid", "The order is paid.", order_id)
    if order.status != Status.CANCELLED:
        log.warning("the payment gateway did not say whether order %s is paid; it stays closing", order_id)
        return _answer(503, "closing", "The order is being closed. Call again.", order_id, {"Retry-After": "5"})
    message = "The order was cancelled before." if before else "The order is cancelled."
    return _answer(200, "cancelled", message, order_id)


def _order_id(request: HttpRequest) -> str | JsonResponse:
    """Read which order is meant from a signed call, or give the answer that refuses the call."""
    if request.method != "POST":
        return _answer(405, "method_not_allowed", "Send a POST.", headers={"Allow": "POST"})
    if not signed(request):
        return _answer(401, "unsigned", "The call is not signed by the shop's secret, or is too old.")
    try:
        body = json.loads(request.body)
    except ValueError:
        return _answer(400, "bad_request", "The body is not JSON.")
    order_id = body.get("order_id") if isinstance(body, dict) else None
    # PostgreSQL has no text with a zero character, so no order is named so.
    if not isinstance(order_id, str) or not order_id or "\0" in order_id:
        return _answer(400, "bad_request", "The body has no order_id.")
    return order_id


def _answer(
    code: int, status: str, message: str, order_id: str | None = None, headers: dict[str, str] | None = None
) -> JsonResponse:
    body = {"status": status, "message": message} | ({"order_id": order_id} if order_id else {})
    return JsonResponse(body, status=code, headers=headers)
