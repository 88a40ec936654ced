"""Shared by the tests of paying by Alipay: a shop that a simulator pays, and notifies made by hand."""

import json
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.db.models import F
from django.test import Client

from lapse.orders.port import Outcome
from lapse.testing.alipay import AlipaySimulator, Buyer, KeyPair, sign_notify
from shop.lapsing import ShopOrders
from shop.orders.models import Order
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt

NOTIFY = "/payment/alipay/notify/"


@dataclass(frozen=True, slots=True)
class PayingShop:
    """The shop's simulator, and Alipay's keys to forge or sign with."""

    alipay: AlipaySimulator
    alipays_keys: KeyPair

    def form(self, number: str, status: str = "TRADE_SUCCESS", **changes: str) -> dict[str, str]:
        """Return a notify as Alipay signs it; a `sign` in `changes` is kept."""
        attempt = PaymentAttempt.objects.filter(reference=number).first()
        form = {
            "notify_id": "1",
            "app_id": self.alipay.app_id,
            "seller_id": self.alipay.seller_id,
            "out_trade_no": number,
            "trade_no": f"t{number}",
            "trade_status": status,
            "total_amount": str(attempt.amount if attempt else Decimal("1.00")),
            "sign_type": "RSA2",
            **changes,
        }
        return sign_notify(form, self.alipays_keys.private) | form


def post(form: dict[str, str]) -> tuple[int, str]:
    """Send a notify to the shop; return the status and the body of the answer."""
    charset = form.get("charset", "utf-8")
    body = urlencode(form, encoding=charset, errors="replace")
    answer = Client(enforce_csrf_checks=True).post(NOTIFY, body, content_type="application/x-www-form-urlencoded")
    return answer.status_code, answer.content.decode()


def link_of(order: Order) -> tuple[str, str]:
    """Return the order's link and the attempt's number."""
    return (link := payment_link(order.pk)), content_of(link)["out_trade_no"]


def content_of(link: str) -> dict[str, Any]:
    """Return the content of a link: what it asks of Alipay."""
    content: dict[str, Any] = json.loads(parse_qs(urlsplit(link).query)["biz_content"][0])
    return content


def scanned(order: Order) -> tuple[Buyer, str]:
    """Let the buyer open and scan the order's link; return the buyer and the attempt's number."""
    link, number = link_of(order)
    buyer = Buyer(link)
    assert buyer.scan()
    return buyer, number


def let_time_pass(order: Order, seconds: float) -> None:
    """Move the order's deadline and the end of its link nearer, or into the past."""
    by = timedelta(seconds=seconds)
    Order.objects.filter(pk=order.pk).update(pay_by=F("pay_by") - by)
    PaymentAttempt.objects.filter(order=order).update(expires_at=F("expires_at") - by)


def lapse(order: Order) -> Outcome:
    """Lapse the order as a worker does that has not asked the gateway about it yet; return the outcome."""
    return ShopOrders().lapse([order.public_id])[order.public_id].outcome


def status_of(order: Order) -> str:
    """Return the order's status and its reason."""
    order.refresh_from_db()
    return f"{order.status} {order.cancel_reason}".strip()


def state_of(number: str) -> str:
    """Return the attempt's state."""
    return PaymentAttempt.objects.get(reference=number).state
