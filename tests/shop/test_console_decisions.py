"""What a merchant decides about a payment: reinstate, write off, assign, note; what the buyer reads of each."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders import Settled, late_money, money
from lapse.orders.late_money import TWO_PAYMENTS
from shop.catalogue.models import Product
from shop.console.models import Assignment, Note
from shop.console.permissions import make_merchant
from shop.lapsing import ShopOrders
from shop.live.streams import read_orders
from shop.orders.alarms import in_language
from shop.orders.models import Order
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.shop.rehearsal import assert_no_drift, make_overdue, order_of, reconcile, report_paid, stock_of, together
from tests.shop.test_console_money import client as client  # noqa: PLC0414 - pytest finds the fixture by its name here
from tests.shop.test_console_money import late as late  # noqa: PLC0414 - as above
from tests.shop.test_console_money import page, press

pytestmark = pytest.mark.usefixtures("late")

SOURCES = [Path(late_money.__file__), Path(money.__file__)]
WHY = "The buyer takes <b>two</b> cups next week"


@pytest.fixture
def colleague(merchant: User) -> Client:
    """Return the browser of another merchant."""
    user = User.objects.create_user("colleague@shop.example", is_active=True)
    make_merchant(user)
    other = Client()
    other.force_login(user)
    assert user.pk != merchant.pk
    return other


def expired(buyer: User, cup: Product) -> str:
    """Return the number of an attempt whose order has expired, and whose money waits for a decision."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    number = PaymentAttempt.objects.get(order=order).reference
    make_overdue(order)
    unpaid_orders().lapse([order.public_id])
    assert report_paid(number, provider_reference="2026-1") is Settled.REVIEW
    return number


def order_page(buyer: User) -> str:
    """Return the page of the order as its buyer sees it, on one line."""
    return " ".join(page(in_browser(buyer), f"/orders/{Order.objects.get().public_id}/").split())


def in_browser(user: User) -> Client:
    """Return a browser in which this user has signed in."""
    browser = Client()
    browser.force_login(user)
    return browser


def trail() -> list[tuple[str, str]]:
    """Return the whole audit trail of the order: what, with its reason, and who."""
    entries = Order.objects.get().audit_trail.all()
    return [(f"{one.what} {one.reason}".strip(), f"{one.actor} {one.actor_id}".strip()) for one in entries]


def test_a_merchant_reinstates(client: Client, colleague: Client, merchant: User, buyer: User, cup: Product) -> None:
    """The order is paid with its stock; the trail says who decided; a slower colleague learns what came first."""
    number = expired(buyer, cup)
    assert "a person at the shop is looking at it" in order_page(buyer)
    assert "data-reinstate" in page(client)
    assert "The order is reinstated" in press(client, number, "reinstate", seen="review")
    slower = press(colleague, number, "write-off", seen="review", reason=WHY)
    assert re.search(rf"came first\. The last entry: .*the merchant {merchant.pk}, \d\d:\d\d:\d\d UTC", slower)
    for action in ("reinstate", "refund", "write-off"):
        assert "came first" in press(client, number, action, seen="review", reason=WHY)
    assert reconcile() == {}
    assert Order.objects.get().status == "paid"
    assert stock_of(cup) == (9, 0)
    assert [entry for entry in trail() if entry[1] == f"merchant {merchant.pk}"] == [
        ("reinstate_decided", f"merchant {merchant.pk}")
    ]
    assert "data-nothing" in page(client)
    assert "data-money=reinstated" in order_page(buyer).replace('"', "")
    assert_no_drift()


def test_nothing_is_reinstated_without_stock(client: Client, buyer: User, cup: Product) -> None:
    """The page says so, and the money waits as before."""
    number = expired(buyer, cup)
    Product.objects.update(on_hand=0)
    before = trail()
    assert "not everything in the order is available" in press(client, number, "reinstate", seen="review")
    assert PaymentAttempt.objects.get().state == State.REVIEW
    assert trail() == before


def test_the_money_went_back_meanwhile(
    client: Client, buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M10: a colleague has refunded it at the provider. The gateway is asked first, so no stock is sold."""
    number = expired(buyer, cup)

    def ask(_shop: ShopOrders, reference: str) -> None:
        report_paid(reference, refunded=Decimal("58.00"))

    monkeypatch.setattr(ShopOrders, "ask", ask)
    assert "came first" in press(client, number, "reinstate", seen="review")
    assert (Order.objects.get().status, PaymentAttempt.objects.get().state) == ("cancelled", State.REFUNDED)
    assert stock_of(cup) == (10, 0)
    shown = order_page(buyer)
    assert re.search(r'data-money="refunded">¥58\.00 was refunded to you on <time', shown)
    assert_no_drift()


def test_a_merchant_writes_off(client: Client, merchant: User, buyer: User, cup: Product) -> None:
    """The reason is shown to the buyer, as text; every yuan is accounted for; a refund that follows is booked."""
    number = expired(buyer, cup)
    for nothing in ("", "  \n "):
        assert "state a reason" in press(client, number, "write-off", seen="review", reason=nothing)
    assert "state a reason" in press(client, number, "write-off", seen="review", reason="x" * 501)
    assert PaymentAttempt.objects.get().state == State.REVIEW
    assert "The payment is written off" in press(client, number, "write-off", seen="review", reason=WHY)
    assert "came first" in press(client, number, "write-off", seen="review", reason="another reason")
    assert "data-nothing" in page(client)
    assert reconcile() == {}
    assert PaymentAttempt.objects.get().written_off == WHY
    assert trail()[-1] == (f"written_off {WHY}", f"merchant {merchant.pk}")
    assert_no_drift()
    answer = in_browser(buyer).get(f"/orders/{Order.objects.get().public_id}/").content.decode()
    assert "The shop keeps ¥58.00 that you paid, for this reason: The buyer takes &lt;b&gt;two&lt;/b&gt; cups" in answer
    assert "No money was taken" not in answer
    report_paid(number, refunded=Decimal("20.00"))
    assert "The shop keeps ¥38.00" in order_page(buyer)
    report_paid(number, refunded=Decimal("58.00"))
    assert "The shop keeps" not in order_page(buyer)
    assert "¥58.00 was refunded to you" in order_page(buyer)
    assert_no_drift()


def test_an_order_whose_payment_cannot_be_booked(client: Client, buyer: User, cup: Product) -> None:
    """It is first on the list, which offers the way out; then the order lapses. No page says a false sentence."""
    first, second = order_of(buyer, cup), order_of(buyer, cup)
    for order in (first, second):
        payment_link(order.pk)
    one, other = (PaymentAttempt.objects.get(order=order).reference for order in (first, second))
    report_paid(one, provider_reference="7")
    assert report_paid(other, provider_reference="7") is Settled.REVIEW
    buyers = in_browser(buyer)
    assert "Please do not pay again" in page(buyers, f"/orders/{second.public_id}/")
    shown = page(client, "/console/money/?filter=held")
    assert f'data-payment="{other}"' in shown
    assert "data-holds" in shown
    assert "data-write-off" in shown
    press(
        client,
        other,
        "write-off",
        seen=PaymentAttempt.objects.get(reference=other).state,
        reason="It paid your other order.",
    )
    assert report_paid(other, provider_reference="7") is Settled.KNOWN
    make_overdue(second)
    unpaid_orders().lapse_overdue()
    second.refresh_from_db()
    assert second.status == "cancelled"
    shown = page(buyers, f"/orders/{second.public_id}/")
    assert "The shop has looked at your payment and says: It paid your other order." in shown
    assert "No money was taken" not in shown
    assert_no_drift()


def test_two_people_do_not_work_on_one(
    client: Client, colleague: Client, merchant: User, buyer: User, cup: Product
) -> None:
    """The first has it. The other learns it, may take it over knowingly, and only staff who may decide can have it."""
    number = expired(buyer, cup)
    other = User.objects.get(username="colleague@shop.example")
    assert f'data-payment="{number}"' in page(client, "/console/money/?filter=unassigned")
    assert "The assignment is changed." in press(client, number, "assign", to=str(merchant.pk), assigned="")
    assert "came first" in press(colleague, number, "assign", to=str(other.pk), assigned="")
    assert Assignment.objects.get().staff == merchant
    assert f'data-payment="{number}"' in page(client, "/console/money/?filter=mine")
    assert f'data-payment="{number}"' not in page(colleague, "/console/money/?filter=mine")
    assert f"{merchant.username} works on it" in page(colleague)
    assert "may not decide" in press(client, number, "assign", to=str(buyer.pk), assigned=str(merchant.pk))
    press(colleague, number, "assign", to=str(other.pk), assigned=str(merchant.pk))
    assert Assignment.objects.get().staff == other
    press(colleague, number, "assign", to="", assigned=str(other.pk))
    assert not Assignment.objects.exists()
    assert [what for what, _ in trail()][-3:] == [
        f"assigned {merchant.username}",
        f"assigned {other.username}",
        "assigned no_person",
    ]


def test_two_take_it_at_once(client: Client, colleague: Client, merchant: User, buyer: User, cup: Product) -> None:
    """One of them has it."""
    number = expired(buyer, cup)
    other = User.objects.get(username="colleague@shop.example")
    shown = together(
        lambda: press(client, number, "assign", to=str(merchant.pk), assigned=""),
        lambda: press(colleague, number, "assign", to=str(other.pk), assigned=""),
    )
    assert sorted("The assignment is changed." in text for text in shown) == [False, True]
    assert Assignment.objects.count() == 1


def test_notes(client: Client, merchant: User, buyer: User, cup: Product) -> None:
    """A note is text, is written once however often its form is sent, and has its author."""
    number = expired(buyer, cup)
    for _ in range(2):
        press(client, number, "note", key="k1", text="rang <the> buyer\nno answer")
    assert Note.objects.count() == 1
    answer = client.get(f"/console/money/{number}/").content.decode()
    assert "rang &lt;the&gt; buyer<br>no answer" in answer
    assert merchant.username in answer
    assert "a note has 1 to 1000 characters" in press(client, number, "note", key="k2", text=" ")


def test_an_alarm_that_the_merchant_has_not_seen_stays(client: Client, buyer: User, cup: Product) -> None:
    """The page showed another one."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    number = PaymentAttempt.objects.get().reference
    report_paid(number, provider_reference="1")
    report_paid(number, provider_reference="2")
    shown = page(client, f"/console/money/{number}/")
    seen = re.findall(r'name="seen" value="([0-9a-f]{16})"', shown)[0]
    PaymentAttempt.objects.update(alarm=f"{TWO_PAYMENTS}1 and 3")
    assert "came first" in press(client, number, "alarm", seen=seen)
    PaymentAttempt.objects.update(alarm=f"{TWO_PAYMENTS}1 and 2")
    assert "The alarm is removed" in press(client, number, "alarm", seen=seen)


def test_the_list_is_filtered_searched_and_paged(
    client: Client, buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each filter has its number and its sum; a number finds its payment, also a settled one; pages end."""
    monkeypatch.setattr("shop.console.money.PAGE", 2)
    numbers = [expired_one(buyer, cup, f"2026-{index}") for index in range(3)]
    shown = page(client)
    counts = dict(re.findall(r'data-filter="(\w*)" data-count="(\d+)"', shown))
    assert counts == {
        "": "3", "decision": "3", "due": "0", "stuck": "0", "alarm": "3", "held": "0", "mine": "0", "unassigned": "3",
    }  # fmt: skip
    assert "¥174.00" in shown
    assert [one for one in numbers if f'data-payment="{one}"' in shown] == numbers[:2]
    following = re.findall(r'rel="next" href="(\?[^"]*)"', shown)[0]
    press(client, numbers[0], "refund")
    press(client, numbers[1], "refund")
    assert f'data-payment="{numbers[2]}"' in page(client, f"/console/money/{following}"), "though the list is shorter"
    reconcile()
    for text in (numbers[0][:8], "2026-0", PaymentAttempt.objects.get(reference=numbers[0]).order.public_id[:8]):
        assert f'data-payment="{numbers[0]}"' in page(client, f"/console/money/?q={text}"), text
    assert "Enter at least 3 characters" in page(client, "/console/money/?q=20")
    assert "No payment was found" in page(client, "/console/money/?q=2026-9")
    for odd in ("after=9-1", "after=1-x", "after=1-99999999999999999999", "filter=nothing", "q=%00abc"):
        page(client, f"/console/money/?{odd}")


def expired_one(buyer: User, cup: Product, provider_reference: str) -> str:
    """Return the number of an attempt in review, with the provider's number of its payment."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    number = PaymentAttempt.objects.get(order=order).reference
    make_overdue(order)
    unpaid_orders().lapse([order.public_id])
    report_paid(number, provider_reference=provider_reference)
    return number


def test_an_open_page_learns_what_became_of_the_money(client: Client, buyer: User, cup: Product) -> None:
    """The state that is sent to the page of a cancelled order is another one after each change of its money."""
    number = expired(buyer, cup)
    pk = Order.objects.get().pk
    states = [read_orders([pk])[pk]["money"]]
    assert 'data-moving="yes"' in order_page(buyer)
    press(client, number, "refund")
    states.append(read_orders([pk])[pk]["money"])
    reconcile()
    states.append(read_orders([pk])[pk]["money"])
    assert len(set(states)) == 3
    assert 'data-moving=""' in order_page(buyer)


ALARMS = [
    "payment p1 belongs to another attempt as well",
    "two payments for one attempt: p1 and p2",
    "the gateway reported a payment whose number cannot be stored: 'p\\n1'",
    "the gateway reported an amount of NaN",
    "the gateway reported a payment of 0.00",
    "the gateway does not know that 58.00 was paid",
    "the gateway reported that 58.00 was paid, and now 60.00",
    "50.00 was paid, and 58.00 was due",
    "58.00 was paid, 8.00 of it refunded, and 58.00 was due",
    "58.00 was paid after the order was cancelled",
    "58.00 was paid for an order that was paid before",
    "the gateway refuses to refund 58.00: not enough money",
    "the gateway refuses to refund 58.00: it gave no reason",
    "the gateway was asked to refund 58.00, and refunded 29.00",
]


@pytest.mark.parametrize("sentence", ALARMS)
def test_each_alarm_is_translated(sentence: str) -> None:
    """The English is the stored sentence, and the Chinese has its values and none of its words."""
    assert in_language(sentence) == sentence
    with translation.override("zh-hans"):
        chinese = in_language(sentence)
    assert chinese is not None
    assert not re.search("paid|gateway|payment|refund of", chinese)
    assert re.findall(r"[\d.]{2,}|p\d", chinese) == re.findall(r"[\d.]{2,}|p\d", sentence) or "而应付" in chinese


def test_no_alarm_of_the_package_is_forgotten() -> None:
    """Each sentence that the package may store has a form that is translated."""
    sources = [module.read_text() for module in SOURCES]
    written = [
        one
        for source in sources
        for one in re.findall(r'(?:_alarm\(record, f|return f|alarm = f|policy, f)"([^"]+)"', source)
    ]
    assert len(written) >= 12, written
    for form in written:
        sentence = re.sub(r"\{TWO_PAYMENTS\}", TWO_PAYMENTS, form)
        sentence = re.sub(r"\{back\}", "", sentence)
        sentence = re.sub(r"\{[^}]*\}", "58.00", sentence)
        assert in_language(sentence) is not None, sentence
