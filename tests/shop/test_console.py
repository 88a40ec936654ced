"""The merchant's console: who may enter, what it shows, and that its numbers agree with the rows."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import Q
from django.db.models.functions import Now
from django.test import Client

from shop.catalogue.models import Product
from shop.console.chart import chart
from shop.console.models import WorkerHeartbeat
from shop.console.permissions import ensure_merchants
from shop.orders.models import Order, Reason
from shop.orders.transitions import cancel
from shop.payments.links import payment_link
from shop.payments.models import GatewayMessage, Judged, PaymentAttempt
from shop.statistics.models import Tally
from tests.shop.rehearsal import order_of, report_paid

PAGES = (
    "/console/",
    "/console/orders/",
    "/console/stock/",
    "/console/statistics/",
    "/console/buried/",
    "/console/money/",
    "/console/messages/",
)


@pytest.fixture
def desk(merchant: User) -> Client:
    """Return a browser in which the merchant has signed in."""
    client = Client()
    client.force_login(merchant)
    return client


def page(client: Client, address: str, **headers: str) -> str:
    """Return a page that must exist."""
    answer = client.get(address, headers=headers)
    assert answer.status_code == 200, answer
    return unescape(answer.content.decode())


def pay(order: Order) -> None:
    """Pay the order."""
    payment_link(order.pk)
    report_paid(PaymentAttempt.objects.values_list("reference", flat=True).get(order=order))


@pytest.mark.parametrize("address", [*PAGES, "/admin/"])
def test_only_merchants_enter(address: str, desk: Client, buyer: User) -> None:
    """A visitor is redirected to the sign-in, a buyer is refused, a merchant enters; no script or style is inline."""
    answer = Client().get(address, follow=True)
    assert answer.redirect_chain[-1][0].startswith("/sign-in/?next=")
    client = Client()
    client.force_login(buyer)
    answer = client.get(address, follow=True)
    assert answer.status_code == 403
    shown = page(desk, address)
    assert not re.search(r"<[^>]+\sstyle=|<script(?![^>]*\ssrc=)[^>]*>\s*[^<\s]|\son\w+=", shown)


@pytest.mark.parametrize(
    ("permission", "opens"),
    [
        ("orders.view_order", {"/console/orders/"}),
        ("figures.view_tally", {"/console/", "/console/statistics/", "/console/buried/"}),
        ("catalogue.view_product", {"/console/stock/"}),
        ("payments.view_paymentattempt", {"/console/money/"}),
        ("lapse_outbox.view_delivery", {"/console/messages/"}),
    ],
)
def test_each_permission_opens_its_pages(permission: str, opens: set[str], merchant: User) -> None:
    """Django's permissions are the roles: without the group, one permission opens its pages and no other."""
    merchant.groups.clear()
    app, _, codename = permission.partition(".")
    merchant.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(merchant)
    assert {address for address in PAGES if client.get(address).status_code == 200} == opens


def test_permission_without_staff_is_not_enough(buyer: User) -> None:
    """Staff without permission are refused."""
    buyer.groups.add(ensure_merchants())
    client = Client()
    client.force_login(buyer)
    assert {client.get(address).status_code for address in PAGES} == {403}
    buyer.groups.clear()
    User.objects.filter(pk=buyer.pk).update(is_staff=True)
    assert {client.get(address).status_code for address in PAGES} == {403}


def test_acting_wants_its_own_permission(merchant: User, buyer: User, cup: Product) -> None:
    """A user who may look may not cancel, restock or revive."""
    order = order_of(buyer, cup)
    merchant.groups.clear()
    merchant.user_permissions.set(
        Permission.objects.filter(Q(codename="view_order") | Q(codename="view_product") | Q(codename="view_tally"))
    )
    client = Client()
    client.force_login(merchant)
    shown = page(client, f"/console/orders/{order.public_id}/") + page(client, "/console/stock/")
    assert "data-cancel>" not in shown
    assert 'name="pieces"' not in shown
    for address in (f"orders/{order.public_id}/cancel/", "stock/CUP/restock/", "buried/revive/"):
        assert client.post(f"/console/{address}").status_code == 403
    assert Order.objects.get().status == "awaiting_payment"


def test_nothing_happens_by_looking(desk: Client, buyer: User, cup: Product) -> None:
    """Every change needs a POST with Django's token against forged requests."""
    order = order_of(buyer, cup)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = desk.cookies
    for address in (f"orders/{order.public_id}/cancel/", "stock/CUP/restock/", "buried/revive/", "stock/audit/"):
        assert desk.get(f"/console/{address}").status_code == 405
        assert strict.post(f"/console/{address}").status_code == 403


def test_the_statistics_and_the_chart_agree(desk: Client, buyer: User, cup: Product) -> None:
    """Placed, paid and expired: the day's statistics, the bars and the table have the same numbers."""
    orders = [order_of(buyer, cup) for _ in range(6)]
    pay(orders[0])
    pay(orders[1])
    Order.objects.filter(pk=orders[2].pk).update(pay_by=Now() - timedelta(seconds=1))
    for order, reason in zip(orders[2:5], (Reason.EXPIRED, Reason.BUYER, Reason.MERCHANT), strict=True):
        cancel(order.pk, reason=reason, who="somebody")
    expected = {"placed": 6, "paid": 2, "expired": 1}
    for address in ("/console/", "/console/statistics/"):
        shown = page(desk, address)
        figures = dict(re.findall(r'data-event="(\w+)" data-count="(\d+)"', shown))
        others = {"buyer": 1, "merchant": 1, "reinstated": 0, "refunded": 0}
        assert figures == {name: str(count) for name, count in (expected | others).items()}
        bars = [(name, int(value)) for name, value in re.findall(r'data-bar="(\w+)".*?data-value="(\d+)"', shown)]
        assert {name: sum(value for one, value in bars if one == name) for name in expected} == expected
        foot = re.search(r"<tfoot>.*?</tfoot>", shown, re.DOTALL)
        assert foot
        assert re.findall(r">(\d+)<", foot[0]) == ["6", "2", "1"]
        assert re.search(r"<desc[^>]*>6 placed, 2 paid, 1 expired", shown)
    assert Tally.objects.get(event="placed").count == 6


def test_statistics_have_moved(desk: Client) -> None:
    """The old address redirects to the new one."""
    assert desk.get("/statistics/").headers["Location"] == "/console/statistics/"


def test_the_overview_refreshes_in_parts(desk: Client) -> None:
    """The page's script gets the parts of the page without the page around them."""
    whole, parts = page(desk, "/console/"), page(desk, "/console/", **{"X-Fragment": "1"})
    names = re.findall(r'data-part="(\w+)"', whole)
    assert len(names) == 6
    assert re.findall(r'data-part="(\w+)"', parts) == names
    assert "<html" not in parts
    assert 'data-refresh="/console/"' in whole


def test_workers_alive_and_silent(desk: Client) -> None:
    """A worker with a heartbeat within 15 seconds is alive; another one is shown as silent."""
    WorkerHeartbeat.objects.create(host="a", pid=1, mechanism="redis", handled=12, latest_ms=4)
    WorkerHeartbeat.objects.create(host="b", pid=2, mechanism="redis", seen_at=Now() - timedelta(seconds=16))
    shown = page(desk, "/console/")
    assert re.findall(r'data-worker="(\d)" data-alive="(\d)"', shown) == [("1", "1"), ("2", "0")]
    assert "data-ok" in shown


def test_lateness_is_the_databases(desk: Client, buyer: User, cup: Product) -> None:
    """p50, p99 and maximum are of the orders that expired within the hour; others do not count."""
    orders = [order_of(buyer, cup) for _ in range(5)]
    for order, late in zip(orders, (10, 20, 30, 3000, 9_000_000), strict=True):
        ended = Now() - timedelta(hours=2) if late > 9000 else Now() - timedelta(minutes=1)
        Order.objects.filter(pk=order.pk).update(
            status="cancelled",
            cancel_reason="expired",
            cancelled_at=ended,
            pay_by=ended - timedelta(milliseconds=late),
        )
    Order.objects.filter(pk=order_of(buyer, cup).pk).update(
        status="cancelled", cancel_reason="buyer", cancelled_at=Now(), pay_by=Now() - timedelta(hours=1)
    )
    shown = page(desk, "/console/")
    assert 'data-lateness="count" data-count="4"' in shown
    found = dict(re.findall(r'data-lateness="(\w+)"><dt>[^<]*</dt><dd>([^<]*)</dd>', shown))
    assert found == {"p50": "25 ms", "p99": "2.9 s", "max": "3.0 s"}


def test_what_a_gateway_said_can_be_read_and_not_changed(desk: Client) -> None:
    """A refused message, such as one with a wrong amount, is shown word for word."""
    message = GatewayMessage.objects.create(
        provider="alipay", judged=Judged.AMOUNT, reference="a1", raw="total_amount=0.01", digest="d"
    )
    assert "a1" in page(desk, "/admin/payments/gatewaymessage/?judged__exact=amount")
    address = f"/admin/payments/gatewaymessage/{message.pk}/change/"
    assert "total_amount=0.01" in page(desk, address)
    assert desk.post(address, {"raw": "total_amount=100"}).status_code == 403


def test_the_admin_changes_no_order(desk: Client, merchant: User, buyer: User, cup: Product) -> None:
    """In the admin orders can only be read: even a superuser has no field to write, and no button to delete."""
    order = order_of(buyer, cup)
    address = f"/admin/orders/order/{order.pk}/change/"
    assert order.public_id in page(desk, "/admin/orders/order/")
    User.objects.filter(pk=merchant.pk).update(is_superuser=True)
    assert 'name="status"' not in page(desk, address)
    assert desk.post(address, {"status": "paid"}).status_code == 403
    assert desk.post(f"/admin/orders/order/{order.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Order.objects.get().status == "awaiting_payment"


def test_the_admin_changes_a_price_and_no_stock(desk: Client, cup: Product) -> None:
    """A sale that comes while the form is open keeps its stock."""
    address = f"/admin/catalogue/product/{cup.pk}/change/"
    assert 'name="on_hand"' not in page(desk, address)
    Product.objects.update(on_hand=9)
    form = {"name": "Cup", "description": "New.", "price": "60.00", "picture": cup.picture, "on_hand": "99"}
    assert desk.post(address, form).status_code == 302
    cup.refresh_from_db()
    assert (cup.on_hand, str(cup.price)) == (9, "60.00")


def test_a_chart_of_nothing() -> None:
    """A chart of zeros and a chart without groups are drawn without an error."""
    cases: list[list[tuple[str, dict[str, int]]]] = [[], [("today", {})], [("today", {"placed": 0})]]
    for groups in cases:
        drawn = chart(groups, ("placed",))
        assert [bar.height for bar in drawn.bars] == [0] * len(groups)
        assert drawn.totals == [0]


@pytest.mark.parametrize(("most", "top"), [(1, "4"), (4, "4"), (5, "8"), (9, "20"), (41, "80"), (99_000, "200,000")])
def test_the_highest_line_is_round(most: int, top: str) -> None:
    """No bar is higher than the highest line, and the lines are whole numbers."""
    drawn = chart([("now", {"placed": most})], ("placed",))
    assert drawn.lines[-1].text == top
    assert drawn.bars[0].y >= drawn.lines[-1].at
    assert drawn.bars[0].y + drawn.bars[0].height == pytest.approx(drawn.floor, abs=0.2)
