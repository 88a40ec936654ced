"""What the tests of paying by Alipay share: a shop that takes money from a simulator, and notifies made by hand."""

import json
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.db.models import F
from django.test import Client

from lapse.gateways.alipay.signing import read_private_key, sign, signed_text
from lapse.integrations.django import unpaid_orders
from lapse.orders.port import Outcome
from lapse.testing.alipay import AlipaySimulator, Buyer, KeyPair
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
        """Write a notify as Alipay would sign it; a changed `sign` is left as it is."""
        attempt = PaymentAttempt.objects.filter(out_trade_no=number).first()
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
        text = signed_text(form, leave_out=("sign", "sign_type"))
        return {"sign": sign(read_private_key(self.alipays_keys.private, "key"), text)} | form


def post(form: dict[str, str]) -> tuple[int, str]:
    """Send a notify to the shop; give its status and its body."""
    answer = Client(enforce_csrf_checks=True).post(NOTIFY, form)
    return answer.status_code, answer.content.decode()


def link_of(order: Order) -> tuple[str, str]:
    """Ask for the order's link; give it with the attempt's number."""
    return (link := payment_link(order.pk)), content_of(link)["out_trade_no"]


def content_of(link: str) -> dict[str, Any]:
    """Read what a link asks Alipay for."""
    content: dict[str, Any] = json.loads(parse_qs(urlsplit(link).query)["biz_content"][0])
    return content


def scanned(order: Order) -> tuple[Buyer, str]:
    """Let the buyer open the order's link and scan it; give the buyer and the attempt's number."""
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
    """Do as a worker does when the order's timer fires."""
    return unpaid_orders().lapse([order.public_id])[order.public_id].outcome


def status_of(order: Order) -> str:
    """Read the order's status and its reason."""
    order.refresh_from_db()
    return f"{order.status} {order.cancel_reason}".strip()


def state_of(number: str) -> str:
    """Read the attempt's state."""
    return PaymentAttempt.objects.get(out_trade_no=number).state
