"""What the shop announces about its orders: each change once, in sequence, and mails in the buyer's language."""

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from pytest_django import Settings

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.outbox import Message
from lapse.integrations.django.outbox.models import Delivery, State
from lapse.orders import Attempt, Ruling, Verdict
from shop.catalogue.models import Product
from shop.mails import mail as mail_of
from shop.orders.models import Order, Reason
from shop.orders.transitions import cancel
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.django.outbox.delivering import running, wait_for_all
from tests.engine.running import wait_until
from tests.shop.rehearsal import make_overdue, order_of, report_paid

SECRET = "whsec_c2hvcC10ZXN0LXNlY3JldC1zaG9wLXRlc3Qtc2VjcmV0"
MAILED = ["order.paid", "order.lapsed", "order.refunded", "order.expiring"]


@pytest.fixture
def webhook(shop: Settings) -> None:
    """Declare an address that receives all messages."""
    shop.LAPSE_OUTBOX = {"webhooks": [{"url": "https://partner.example/", "secrets": [SECRET]}]}


def announced() -> list[tuple[str, dict[str, object]]]:
    """Return the types and the data of all messages, in their sequence."""
    contents = [json.loads(text) for text in Delivery.objects.order_by("pk").values_list("document", flat=True)]
    return [(content["type"], content["data"]) for content in contents]


@pytest.mark.usefixtures("webhook")
def test_each_change_is_announced_once(buyer: User, cup: Product) -> None:
    """Lapsed, reinstated by late money, paid and refunded: four messages, each with the order's state at that time."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    number = PaymentAttempt.objects.get().reference
    PaymentAttempt.objects.update(state="closed")
    make_overdue(order)
    for _ in range(2):
        unpaid_orders().lapse([order.public_id])
    for _ in range(2):
        report_paid(number, provider_reference="2026", amount=order.total)
    for _ in range(2):
        named = Attempt(order.public_id, number, "development")
        unpaid_orders().receive(
            Ruling(named, Verdict.REFUNDED, provider_reference="2026", amount=order.total, refunded=order.total)
        )
    found = announced()
    assert [kind for kind, _ in found] == ["order.lapsed", "order.reinstated", "order.paid", "order.refunded"]
    assert [data["status"] for _, data in found] == ["cancelled", "awaiting_payment", "paid", "paid"]
    assert [data["cancel_reason"] for _, data in found] == ["expired", None, None, None]
    assert found[3][1]["amount"] == "58.00"
    assert {data["order"] for _, data in found} == {order.public_id}
    assert set(Delivery.objects.values_list("key", flat=True)) == {order.public_id}
    assert buyer.email not in json.dumps(found)


@pytest.mark.usefixtures("webhook")
def test_a_persons_cancel_has_a_type_of_its_own(buyer: User, cup: Product) -> None:
    """The buyer's cancel is `order.cancelled`, with the reason."""
    order = order_of(buyer, cup)
    cancel(order.pk, reason=Reason.BUYER, who=f"buyer {buyer.pk}")
    ((kind, data),) = announced()
    assert (kind, data["cancel_reason"]) == ("order.cancelled", "buyer")


@pytest.mark.usefixtures("webhook")
def test_a_lapse_that_is_rolled_back_announces_nothing(
    buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is written in the transaction of the change."""
    order = order_of(buyer, cup)
    make_overdue(order)
    monkeypatch.setattr("shop.lapsing.count", lambda _: 1 / 0)  # called after the message is written
    with pytest.raises(ZeroDivisionError):
        unpaid_orders().lapse([order.public_id])
    assert announced() == []


def test_without_a_receiver_a_batch_reads_and_writes_nothing_more(buyer: User, cup: Product, shop: Settings) -> None:
    """With a receiver, 20 orders lapse by one statement more; without one, the outbox costs no statement."""
    counts = []
    for declared in (None, {"webhooks": [{"url": "https://partner.example/", "secrets": [SECRET]}]}):
        shop.LAPSE_OUTBOX = declared
        orders = [order_of(buyer, cup) for _ in range(5)]
        make_overdue(*orders)
        with CaptureQueriesContext(connection) as queries:
            unpaid_orders().lapse([order.public_id for order in orders])
        inserts = [query["sql"] for query in queries if "lapse_outbox" in query["sql"]]
        counts.append((len(inserts), len(queries)))
    (none, before), (one, after) = counts
    assert (none, one) == (0, 1)
    assert after == before + 1


@pytest.mark.parametrize(
    ("language", "subject"),
    [("en", r"Your order \w{8} was cancelled"), ("zh-hans", r"您的订单 \w{8} 已取消"), ("", "Your order")],
)
def test_mails_are_in_the_language_of_the_order(
    buyer: User, cup: Product, shop: Settings, language: str, subject: str
) -> None:
    """The language in which the order was placed, also where the worker's language is another one."""
    shop.LAPSE_OUTBOX = {"mail": {"function": "shop.mails.mail", "types": MAILED}}
    shop.PUBLIC_URL = "https://shop.example"
    with translation.override(language or None):
        order = order_of(buyer, cup)
    if not language:
        Order.objects.update(language="")
    make_overdue(order)
    unpaid_orders().lapse([order.public_id])
    with running():
        wait_for_all()
    (sent,) = mail.outbox
    assert re.match(subject, str(sent.subject))
    assert sent.to == [buyer.email]
    assert f"https://shop.example/orders/{order.public_id}/" in str(sent.body)
    assert "¥58.00" in str(sent.body)
    assert Delivery.objects.get().state == State.DELIVERED


def test_every_mail_has_its_words(buyer: User, cup: Product, shop: Settings) -> None:
    """Each type that the shop declares makes a mail, and a reminder that comes too late makes none."""
    shop.PUBLIC_URL = "https://shop.example"
    order = order_of(buyer, cup)
    data = {"order": order.public_id, "total": "58.00", "amount": "8.00", "pay_by": order.pay_by.isoformat()}
    for language in ("en", "zh-hans"):
        Order.objects.update(language=language)
        for kind in MAILED:
            made = mail_of(Message("msg_1", kind, order.public_id, order.pay_by, data))
            assert made is not None
            assert order.public_id[:8] in made.subject + str(made.body)
            assert "%(" not in made.subject + str(made.body)
    cancel(order.pk, reason=Reason.BUYER, who="buyer")
    assert mail_of(Message("msg_1", "order.expiring", order.public_id, order.pay_by, data)) is None
    assert mail_of(Message("msg_1", "order.paid", "unknown", order.pay_by, data)) is None


def press(client: Client, pk: int, action: str, order: str = "") -> str:
    """Press a button of the page of messages, and return the page that follows."""
    answer = client.post(f"/console/messages/{pk}/{action}/", {"order": order}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.usefixtures("webhook")
def test_the_page_shows_messages_and_sends_again(merchant: User, buyer: User, cup: Product) -> None:
    """By order and by state. Messages are sent again or given up, and an act that comes second changes nothing."""
    orders = [order_of(buyer, cup) for _ in range(2)]
    for order in orders:
        cancel(order.pk, reason=Reason.BUYER, who="buyer")
    client = Client()
    client.force_login(merchant)
    first, second = Delivery.objects.order_by("pk")
    shown = client.get("/console/messages/").content.decode()
    assert re.findall('data-state="(.+?)"', shown) == ["waiting", "waiting"]
    assert 'data-backlog="partner.example"' in shown
    assert re.findall('data-message="(.+?)"', client.get(f"/console/messages/?order={first.key}").content.decode()) == [
        first.message
    ]
    assert "data-nothing" in client.get("/console/messages/?state=delivered").content.decode()
    assert "data-nothing" in client.get("/console/messages/?order=%00&before=1").content.decode()
    Delivery.objects.filter(pk=first.pk).update(state=State.BURIED, answer="500: <b>", due_at=None, tries=3)
    assert "1 message could not be delivered" in client.get("/console/").content.decode()
    shown = client.get("/console/messages/?state=buried").content.decode()
    assert "500: &lt;b&gt;" in shown
    assert "A worker sends the message" in press(client, first.pk, "send", first.key)
    assert Delivery.objects.get(pk=first.pk).state == State.WAITING
    assert "Nothing was changed" in press(client, first.pk, "send")
    assert "The message is given up" in press(client, second.pk, "give-up")
    assert "Nothing was changed" in press(client, second.pk, "give-up")
    assert "Nothing was changed" in press(client, 10**12, "send")


def test_only_who_may_send_sees_the_buttons(merchant: User, buyer: User) -> None:
    """A visitor and a buyer change nothing, and GET changes nothing."""
    for user in (None, buyer):
        client = Client()
        if user:
            client.force_login(user)
        assert client.post("/console/messages/1/send/").status_code in (302, 403)
        assert client.post("/console/messages/1/give-up/").status_code in (302, 403)
    client = Client()
    client.force_login(merchant)
    assert client.get("/console/messages/1/send/").status_code in (302, 405)


def test_publishing_is_part_of_the_orders_transaction(buyer: User, cup: Product, webhook: None) -> None:
    """A payment that is rolled back has no message."""
    del webhook
    order = order_of(buyer, cup)
    payment_link(order.pk)
    with transaction.atomic():
        report_paid(PaymentAttempt.objects.get().reference)
        assert [kind for kind, _ in announced()] == ["order.paid"]
        transaction.set_rollback(True)
    assert announced() == []
    assert Order.objects.get(pk=order.pk).status != "paid"


def test_the_worker_delivers_beside_its_other_work(
    buyer: User, cup: Product, shop: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lapse_worker` lapses the order, sends the mail about it, and ends when it receives SIGTERM."""
    shop.LAPSE_OUTBOX = {"mail": {"function": "shop.mails.mail", "types": MAILED}}
    shop.PUBLIC_URL = "https://shop.example"
    shop.LAPSE_TIMER = None
    order = order_of(buyer, cup)
    make_overdue(order)

    def stop_when_sent() -> None:
        try:
            wait_until(lambda: bool(mail.outbox), "no mail was sent")
            wait_until(lambda: Delivery.objects.filter(state=State.DELIVERED).exists(), "the mail was not settled")
        finally:
            connections.close_all()
            os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(stop_when_sent)
        call_command("lapse_worker")
        watching.result()
    assert len(mail.outbox) == 1
    assert "delivering messages to mail\n" in capsys.readouterr().out
