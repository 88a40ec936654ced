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

from lapse.engine.errors import ConfigError
from lapse.gateways.alipay import AlipayGateway, MessageRefused
from shop.payments import alipay
from shop.payments.models import PaymentAttempt
from shop.payments.notify import PROVIDER, Heard, hear
from shop.payments.query import look

log = logging.getLogger("shop.payments")

STATUS_OF = {Heard.DONE: HTTPStatus.OK, Heard.UNKNOWN: HTTPStatus.NOT_FOUND, Heard.REFUSED: HTTPStatus.BAD_REQUEST}


@csrf_exempt
@require_POST
def notify(request: HttpRequest) -> HttpResponse:
    """POST /payment/alipay/notify/: answers exactly `success` once what it says is committed, else `failure`.

    After a `failure` Alipay sends it again, so a database that is away costs time and no money.
    """
    try:
        raw = request.body.decode(errors="replace").replace("\0", "\ufffd")
        form = {name: str(value) for name, value in request.POST.items()}
    except (SuspiciousOperation, UnreadablePostError):  # far too big, or the line broke
        return _answer("failure", HTTPStatus.BAD_REQUEST)
    try:
        gateway = alipay.opened()
        if gateway is None:
            log.error("a notify came, and Alipay's settings are not complete")
            return _answer("failure", HTTPStatus.SERVICE_UNAVAILABLE)
        heard = hear(form, raw, gateway)
    except Exception:
        log.exception("a notify could not be heard; it will be sent again")
        return _answer("failure", HTTPStatus.SERVICE_UNAVAILABLE)
    return _answer("success" if heard == Heard.DONE else "failure", STATUS_OF[heard])


@require_safe
@never_cache
def returned(request: HttpRequest) -> HttpResponse:
    """GET /payment/alipay/return/: the buyer is back. Shows the order, after asking Alipay if no notify came yet."""
    gateway = _gateway()
    attempt = None
    if gateway is not None:
        try:
            back = gateway.read_return({name: str(value) for name, value in request.GET.items()})
        except MessageRefused as refusal:
            log.warning("a buyer came back with parameters that were refused: %s", refusal)
        else:
            found = PaymentAttempt.objects.select_related("order")
            attempt = found.filter(out_trade_no=back.out_trade_no, gateway=PROVIDER).first()
    if attempt is None or gateway is None:
        messages.error(request, _("This address does not say which order was paid. Your orders are here."))
        return redirect("orders")
    if not look(attempt, gateway):
        messages.info(request, _("Alipay has not confirmed your payment yet. This page shows it as soon as it does."))
    return redirect("order", attempt.order.public_id)


def _gateway() -> AlipayGateway | None:
    try:
        return alipay.opened()
    except ConfigError:
        log.exception("a buyer came back, and Alipay's settings are wrong")
        return None


def _answer(text: str, status: HTTPStatus) -> HttpResponse:
    return HttpResponse(text, content_type="text/plain", status=status)
