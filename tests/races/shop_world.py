"""The reference shop and the Alipay simulator as a world for `money_machine`."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F
from django.db.models.functions import Now

from lapse import LapseError
from lapse.integrations.django import settings as package_settings
from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders import LateMoney
from lapse.testing.alipay import AlipaySimulator, Buyer, KeyPair
from shop.buyers.accounts import sign_up
from shop.catalogue.models import Product
from shop.lapsing import ShopOrders
from shop.orders.models import UNPAID, Order, Reason, Status
from shop.orders.placing import place
from shop.orders.refusals import Refused
from shop.orders.transitions import cancel, cancel_for_shop
from shop.payments import gateways
from shop.payments.alipay import AlipayPayments, alipay_payments, open_alipay
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from shop.statistics.books_check import audit
from tests.races.faults import FaultyGateway
from tests.races.settled import Books, assert_settled
from tests.races.workers import Workers
from tests.shop.alipay_rehearsal import PayingShop, content_of, post
from tests.shop.rehearsal import PASSWORD, wanted

ON_HAND = 2
LATER = timedelta(hours=1)
PART = Decimal("20.00")


class FaultyAlipay(FaultyGateway):
    """The shop's Alipay, with faults; links are made as before."""

    gateway: AlipayPayments
    least_time = timedelta(0)

    def link_ends(self, pay_by: datetime) -> datetime:
        """Return when a link ends."""
        return self.gateway.link_ends(pay_by)

    def link(self, attempt: PaymentAttempt) -> str:
        """Return the link."""
        return self.gateway.link(attempt)


@dataclass
class ShopWorld:
    """One product, one buyer, their orders, the simulator, and the processes of the shop."""

    policy: LateMoney
    simulator: AlipaySimulator
    keys: KeyPair
    patch: pytest.MonkeyPatch
    links: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        call_command("flush", verbosity=0, interactive=False)
        self.buyer = sign_up("mei@example.com", PASSWORD)
        self.cup = Product.objects.create(
            sku="CUP", name="Cup", price=Decimal("58.00"), on_hand=ON_HAND, picture="shop/products/gaiwan.svg"
        )
        payments = alipay_payments()
        assert payments is not None
        self.faulty = FaultyAlipay(payments)
        self.patch.setattr(gateways, "OPENERS", {"alipay": lambda: self.faulty})
        self.patch.setattr(ShopOrders, "late_money", self.policy)
        self.paying = PayingShop(self.simulator, self.keys)
        self.workers = Workers(ShopOrders, self.faulty, started=partial(setattr, package_settings, "_orders"))
        self.refunded_in_console: set[str] = set()
        self.opened: dict[str, Buyer] = {}
        self.final: set[str] = set()

    # What people do.

    def place(self) -> int | None:
        """Place an order for one cup; return its key, or None without stock."""

        def sell(_: Any) -> int | None:
            with suppress(Refused):
                return place(self.buyer, [wanted(self.cup)]).order.pk
            return None

        return self.workers.act(sell, steps=None)

    def link(self, order: int) -> str | None:
        """Return the attempt of the order's link, or None if it cannot be paid."""

        def make(_: Any) -> str | None:
            with suppress(Refused):
                return payment_link(order)
            return None

        if (link := self.workers.act(make, steps=None)) is None:
            return None
        reference: str = content_of(link)["out_trade_no"]
        self.links[reference] = link
        return reference

    def scan(self, reference: str) -> None:
        """Let the buyer open and scan the link."""
        if reference not in self.opened:
            self.opened[reference] = Buyer(self.links[reference])
        self.opened[reference].scan()

    def pay(self, reference: str, *, part: bool) -> bool:
        """Let the buyer pay the link if it can be paid. Return whether the buyer has paid.

        A part is paid by a link that the shop signed with a wrong amount.
        """
        asked_on = PaymentAttempt.objects.filter(reference=reference, ask_at__isnull=False)
        attempt = asked_on.first()
        if attempt is None:  # the link has ended long ago
            return False
        if part and reference not in self.opened:
            gateway = open_alipay()
            assert gateway is not None
            assert attempt.expires_at is not None
            wrong = gateway.page_pay_url(reference, PART, "a part", attempt.expires_at)
            with suppress(LapseError):
                self.opened[reference] = Buyer(wrong)
        self.scan(reference)
        return self.opened[reference].pay() is not None

    def report(self, reference: str) -> dict[str, str] | None:
        """Return the signed notify about the trade's present state, or None if there is none."""
        trade = self.simulator.trade(reference)
        if trade is None or trade["trade_status"] == "WAIT_BUYER_PAY":
            return None
        closed = trade["trade_status"] == "TRADE_CLOSED"
        refunds = {"refund_fee": trade["refunded"]} if closed or Decimal(trade["refunded"]) else {}
        return self.paying.form(
            reference,
            trade["trade_status"],
            trade_no=trade["trade_no"],
            total_amount=trade["total_amount"],
            **refunds,
        )

    def deliver(self, form: dict[str, str], *, steps: int | None) -> None:
        """Let the notify arrive."""
        answer = self.workers.act(lambda _: post(form), steps=steps)
        assert answer is None or answer[0] in (200, 400), answer  # 400: a wrong amount is not believed

    def refund_in_console(self, reference: str, *, part: bool) -> None:
        """Refund all that is left, or a part of it, in Alipay's own console."""
        with suppress(LapseError):
            self.simulator.refund(reference, Decimal("7.00") if part else None)
            self.refunded_in_console.add(reference)

    def cancel(self, order: int, *, by: str, steps: int | None) -> None:
        """Let the buyer or a merchant cancel the order."""

        def decide(_: Any) -> None:
            with suppress(Refused):
                if by == "buyer":
                    cancel(order, reason=Reason.BUYER, who="buyer")
                else:
                    cancel_for_shop(Order.objects.get(pk=order), who="merchant")

        self.workers.act(decide, steps=steps)

    def extend(self, order: int) -> None:
        """Move the deadline of an unpaid order to a later time."""
        Order.objects.filter(UNPAID, pk=order).update(pay_by=Now() + LATER)
        unpaid_orders().arm(*Order.objects.filter(UNPAID, pk=order))

    def come_due(self, order: int) -> None:
        """Let the time of an unpaid order and its links be over by the shop's clock; Alipay's clock is behind."""
        if Order.objects.filter(UNPAID, pk=order).update(pay_by=Now() - LATER):
            PaymentAttempt.objects.filter(order=order).update(expires_at=F("expires_at") - 2 * LATER)

    def lapse(self, *, steps: int | None) -> None:
        """Lapse what is overdue, as the sweep does."""
        self.workers.act(self.workers.lapse, steps=steps)

    def reconcile(self, *, steps: int | None) -> None:
        """Let the time come to ask about each attempt, and reconcile."""
        PaymentAttempt.objects.filter(ask_at__isnull=False).update(ask_at=Now() - LATER)
        self.workers.act(lambda shop: shop.reconciler().once(), steps=steps)

    # What must be true.

    def check(self) -> None:
        """Assert what is true after every step: the audit is clean, and no refund is taken back."""
        drifts = audit(grace=timedelta(days=1))
        assert drifts == [], drifts
        self.cup.refresh_from_db()
        held = Order.objects.filter(UNPAID).count()
        sold = Order.objects.filter(status=Status.PAID).count()
        assert (self.cup.held, self.cup.on_hand) == (held, ON_HAND - sold)
        refunded = set(PaymentAttempt.objects.filter(state=State.REFUNDED).values_list("reference", flat=True))
        assert refunded >= self.final, f"a refund is final, and these were refunded: {self.final - refunded}"
        self.final = refunded

    def settle(self) -> None:
        """Let everything settle: Alipay answers, each order is due, and each attempt is asked about."""
        self.workers.recover()
        self.simulator.reset()
        self.simulator.faults(notify="drop")
        for order in Order.objects.filter(UNPAID):
            self.come_due(order.pk)
        before: object = None
        while before != (before := self._state()):
            self.workers.restart()
            self.lapse(steps=None)
            self.reconcile(steps=None)
        for attempt in PaymentAttempt.objects.filter(state=State.SUCCEEDED):  # the notify of a refund comes at last
            if (report := self.report(attempt.reference)) is not None:
                self.deliver(report, steps=None)

    def check_settled(self) -> None:
        """Assert that no money is lost: it is on a paid order, or refunded, or on the work list."""
        self.check()
        trades = {trade["out_trade_no"]: trade for trade in self.simulator.trades()}
        books = []
        for attempt in PaymentAttempt.objects.select_related("order"):
            trade = trades.get(attempt.reference)
            paid = trade is not None and self._was_paid(trade)
            books.append(
                Books(
                    attempt=attempt,
                    status=attempt.order.status,
                    paid=Decimal(trade["total_amount"]) if trade and paid else None,
                    back=Decimal(trade["refunded"]) if trade else Decimal(0),
                    by_console=attempt.reference in self.refunded_in_console,
                )
            )
        assert_settled(books, self.policy)
        assert not Order.objects.filter(UNPAID).exists()

    @staticmethod
    def _was_paid(trade: dict[str, Any]) -> bool:
        return trade["trade_status"] == "TRADE_SUCCESS" or Decimal(trade["refunded"]) > 0

    def _state(self) -> Counter[tuple[object, ...]]:
        rows: Iterator[tuple[object, ...]] = PaymentAttempt.objects.values_list(
            "reference", "state", "paid", "refunded", "refunding", "order__status"
        ).iterator()
        return Counter(rows)
