"""What many of the shop's tests do: order, let time pass, race, call the API."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Protocol

from django.contrib.auth.models import User
from django.db import connections
from django.db.models.functions import Now
from django.test import Client

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders import Attempt, Ruling, Settled, Verdict
from shop.buyers.models import ApiToken
from shop.catalogue.models import Product
from shop.orders.events import What
from shop.orders.models import AuditEntry, Order
from shop.orders.placing import Wanted, place
from shop.payments.models import PaymentAttempt
from shop.statistics.books_check import audit

PASSWORD = "leaves-and-water"


def wanted(product: Product, quantity: int = 1) -> Wanted:
    """Return an order line for this many pieces of a product, at its price."""
    return Wanted(product.sku, quantity, product.price)


def order_of(buyer: User, product: Product, quantity: int = 1) -> Order:
    """Place an order with one line, and return the order."""
    return place(buyer, [wanted(product, quantity)]).order


def make_overdue(*orders: Order) -> None:
    """Move the deadlines a second into the past, by the database's clock."""
    pks = [order.pk for order in orders]
    Order.objects.filter(pk__in=pks).update(pay_by=Now() - timedelta(seconds=1))


def report_paid(number: str, **facts: Any) -> Settled:
    """Report that an attempt was paid, as its gateway does; return what became of the report."""
    attempt = PaymentAttempt.objects.get(reference=number)
    named = Attempt(attempt.order.public_id, number, attempt.gateway)
    return unpaid_orders().receive(Ruling(named, Verdict.PAID, **facts))


def reconcile() -> Counter[Settled]:
    """Let the time come to ask about each attempt that may still have money, ask, and refund what is due."""
    PaymentAttempt.objects.exclude(ask_at=None).update(ask_at=Now())
    reconciler = unpaid_orders().reconciler()
    return reconciler.once() + reconciler.once()


def stock_of(product: Product) -> tuple[int, int]:
    """Return the pieces on hand and the pieces held by orders."""
    product.refresh_from_db()
    return product.on_hand, product.held


def trail_of(order: Order) -> list[str]:
    """Return the entries of the order and of its money, in sequence: "cancelled: expired", "refunded: 20.00".

    An attempt's other states are left out.
    """
    return [text for entry in order.audit_trail.all() if (text := in_short(entry))]


def in_short(entry: AuditEntry) -> str:
    """Return the event with what matters of it, or "" for a change of an attempt that moves no money."""
    if entry.refunded is not None:
        return f"refunded: {entry.refunded}"
    if entry.what in (What.ATTEMPT, What.REFUND_DECIDED):
        waits = {State.REFUND_DUE: "refund due", State.REVIEW: "review"}
        what = "refund decided" if entry.what == What.REFUND_DECIDED else waits.get(State(entry.after))
        return f"{what}: {entry.amount}" if what else ""
    return f"{entry.what}: {entry.reason}" if entry.reason else entry.what


def assert_no_drift() -> None:
    """Assert that the audit finds nothing wrong in stock, statistics and audit trail."""
    found = audit(grace=timedelta(minutes=1))
    assert found == [], found


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Start the calls at one moment, each in a thread with its own connection. Return their results or exceptions."""
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        try:
            barrier.wait(timeout=30)
            return call()
        except Exception as error:  # noqa: BLE001  # the test looks at it
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


class Api(Protocol):
    """Calls the API as one user: method, path below /api, JSON body, further headers."""

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send one request."""
        ...


def api_of(user: User | None) -> Api:
    """Return a function that calls the API as this user; None is a visitor who is not signed in."""
    client = Client(raise_request_exception=False)
    authorization = {"Authorization": f"Bearer {ApiToken.issue(user)}"} if user else {}

    def call(method: str, path: str, body: Any = None, **headers: str) -> Any:
        return client.generic(
            method,
            f"/api{path}",
            data="" if body is None else _json(body),
            content_type="application/json",
            headers=authorization | headers,
        )

    return call


def _json(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)
