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
from shop.payments.alipay import PROVIDER, open_alipay
from shop.payments.models import Judged, PaymentAttempt
from shop.payments.notify import Notice, NotifyResult, receive_notify, refuse_notify
from shop.payments.query import query_attempt

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
    """GET /payment/alipay/return/: the buyer is back. Return the order's page, after a query if no notify came yet."""
    attempt = _attempt(request.META["QUERY_STRING"].encode("latin-1", "replace"))
    if attempt is None:
        messages.error(request, _("This address does not say which order was paid. Your orders are here."))
        return redirect("orders")
    if not query_attempt(attempt):
        messages.info(request, _("Alipay has not confirmed your payment yet. This page shows it as soon as it does."))
    return redirect("order", attempt.order.public_id)


def _receive(body: bytes, content_type: str, gateway: AlipayGateway) -> NotifyResult:
    raw = body.decode(errors="replace").replace("\0", "\ufffd")
    try:
        trade = gateway.read_notify(body, content_type).trade
    except MessageRefused as refusal:
        log.error("a notify was refused (%s): %s", refusal.flaw, refusal)  # noqa: TRY400  # the sender's fault, no trace
        numbers = (refusal.fields.get(name, "") for name in ("out_trade_no", "trade_no", "trade_status"))
        reference, provider_reference, status = numbers
        unverified = Notice(
            provider=PROVIDER, reference=reference, provider_reference=provider_reference, status=status
        )
        refuse_notify(unverified, raw, Judged(refusal.flaw.value))
        return NotifyResult.REFUSED
    notice = Notice(
        provider=PROVIDER,
        reference=trade.out_trade_no,
        provider_reference=trade.trade_no,
        status=trade.status.value,
        verdict=trade.verdict,
        amount=trade.total_amount,
    )
    return receive_notify(notice, raw)


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
    return found.filter(out_trade_no=back.out_trade_no, gateway=PROVIDER).first()


def _answer(text: str, status: HTTPStatus) -> HttpResponse:
    return HttpResponse(text, content_type="text/plain", status=status)
