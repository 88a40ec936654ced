"""Alipay's two ways into the shop: the notify, from its servers, and the return page, by the buyer's browser."""

import logging
from http import HTTPStatus

from django.contrib import messages
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from lapse import ConfigError
from lapse.gateways.alipay import AlipayGateway, MessageRefused
from lapse.integrations.django import unpaid_orders
from lapse.orders import Attempt, Ruling, Verdict
from shop.limits import RateLimited, count_query
from shop.payments.alipay import PROVIDER, open_alipay
from shop.payments.models import Judged, PaymentAttempt
from shop.payments.notify import Notice, NotifyResult, receive_notify, refuse_notify

log = logging.getLogger("shop.payments")

STATUS_OF = {
    NotifyResult.DONE: HTTPStatus.OK,
    NotifyResult.UNKNOWN: HTTPStatus.NOT_FOUND,
    NotifyResult.REFUSED: HTTPStatus.BAD_REQUEST,
}


@csrf_exempt
@require_POST
def notify(request: HttpRequest) -> HttpResponse:
    """POST /payment/alipay/notify/: return exactly `success` once the effect is committed, else `failure`.

    After a `failure` Alipay sends the notify again, so a database that does not answer delays the money only.
    """
    try:
        body = request.body  # not request.POST, which reads every form as UTF-8: Alipay may write in GBK
    except (SuspiciousOperation, UnreadablePostError):  # far too big, or the connection broke
        return _answer("failure", HTTPStatus.BAD_REQUEST)
    try:
        gateway = open_alipay()
        if gateway is None:
            log.error("a notify came, and Alipay's settings are not complete")
            return _answer("failure", HTTPStatus.SERVICE_UNAVAILABLE)
        result = _receive(body, request.headers.get("Content-Type", ""), gateway)
    except Exception:
        log.exception("a notify could not be processed; Alipay will send it again")
        return _answer("failure", HTTPStatus.SERVICE_UNAVAILABLE)
    return _answer("success" if result == NotifyResult.DONE else "failure", STATUS_OF[result])


@require_safe
@never_cache
def returned(request: HttpRequest) -> HttpResponse:
    """GET /payment/alipay/return/: the buyer is back. Ask Alipay about the payment, and redirect to the order's page.

    Alipay is asked also if the shop knows an answer already: the order may be cancelled, or paid by another attempt. A
    buyer who reloads this page too often sees what the shop knows.
    """
    attempt = _attempt(request.META["QUERY_STRING"].encode("latin-1", "replace"))
    if attempt is None:
        messages.error(request, _("This address does not say which order was paid. Your orders are here."))
        return redirect("orders")
    try:
        count_query(request, attempt.reference)
        unpaid_orders().ask(attempt.reference)
    except RateLimited:
        log.info("Alipay was asked about attempt %s often enough", attempt.reference)
    attempt.refresh_from_db()
    if attempt.paid is None:
        messages.info(
            request, _("Alipay has not confirmed your payment yet. We are asking, and your order shows the answer.")
        )
    return redirect("order", attempt.order.public_id)


def _receive(body: bytes, content_type: str, gateway: AlipayGateway) -> NotifyResult:
    raw = body.decode(errors="replace").replace("\0", "\ufffd")
    try:
        notification = gateway.read_notify(body, content_type)
    except MessageRefused as refusal:
        log.error("a notify was refused (%s): %s", refusal.flaw, refusal)  # noqa: TRY400  # the sender's fault, no trace
        reference, number, status = (
            refusal.fields.get(name, "") for name in ("out_trade_no", "trade_no", "trade_status")
        )
        unverified = Ruling(_named(reference), Verdict.UNKNOWN, provider_reference=number)
        refuse_notify(Notice(ruling=unverified, status=status, raw=raw), Judged(refusal.flaw.value))
        return NotifyResult.REFUSED
    trade = notification.trade
    ruling = notification.ruling(_named(trade.out_trade_no))
    return receive_notify(Notice(ruling=ruling, status=trade.status.value, raw=raw, amount=trade.total_amount))


def _named(reference: str) -> Attempt:
    """Return the attempt that a message names. The message does not say which order the attempt is for."""
    return Attempt("", reference, PROVIDER)


def _attempt(query: bytes) -> PaymentAttempt | None:
    """Return the attempt that the verified parameters of the return page name, or None."""
    try:
        gateway = open_alipay()
        back = gateway.read_return(query) if gateway else None
    except ConfigError:
        log.exception("a buyer came back, and Alipay's settings are wrong")
        return None
    except MessageRefused as refusal:
        log.warning("a buyer came back with parameters that were refused: %s", refusal)
        return None
    if back is None:
        return None
    found = PaymentAttempt.objects.select_related("order")
    return found.filter(reference=back.out_trade_no, gateway=PROVIDER).first()


def _answer(text: str, status: HTTPStatus) -> HttpResponse:
    return HttpResponse(text, content_type="text/plain", status=status)
