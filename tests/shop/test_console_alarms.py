"""The console's alarm banner: shown while an operator must act, and only then. The page answers without the timer."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from pytest_django import Settings

from lapse import Deadline
from lapse.integrations.django import timer, unpaid_orders
from lapse.testing.servers import RedisServer
from shop.catalogue.models import Product
from shop.console.models import WorkerHeartbeat
from shop.orders.models import Order
from shop.payments.links import payment_link
from tests.shop.rehearsal import order_of

PATIENCE = 60.0


@pytest.fixture
def overview(merchant: User) -> Callable[[], str]:
    """Return a function that fetches the overview."""
    client = Client()
    client.force_login(merchant)

    def look() -> str:
        answer = client.get("/console/")
        assert answer.status_code == 200
        return unescape(answer.content.decode())

    return look


@pytest.fixture
def worker(transactional_db: None) -> WorkerHeartbeat:
    """Write the heartbeat of a worker that is alive."""
    del transactional_db
    return WorkerHeartbeat.objects.create(host="here", pid=7, mechanism="memory")


@pytest.fixture
def redis(settings: Settings) -> Iterator[RedisServer]:
    """Keep the deadlines in a Redis that the test may freeze."""
    with RedisServer() as server:
        settings.LAPSE_TIMER = server.url
        yield server


def alarms(page: str) -> list[str]:
    """Return the sentences of the alarm banner; none if the page shows that all is well."""
    banner = re.search(r'<div class="alarm" role="alert".*?</ul>', page, re.DOTALL)
    assert (banner is None) == ("data-ok" in page)
    return re.findall(r"<li>(.*?)</li>", banner[0]) if banner else []


def overdue_by(order: Order, seconds: float) -> None:
    """Move the order's deadline so many seconds into the past."""
    Order.objects.filter(pk=order.pk).update(pay_by=Now() - timedelta(seconds=seconds))


@pytest.mark.usefixtures("worker")
def test_an_order_that_should_have_lapsed(overview: Callable[[], str], buyer: User, cup: Product) -> None:
    """Overdue by more than five seconds and not cancelled: the banner is shown until the order is cancelled."""
    order = order_of(buyer, cup)
    assert alarms(overview()) == []
    overdue_by(order, 2)
    assert alarms(overview()) == []
    overdue_by(order, 6)
    shown = overview()
    over_at = Order.objects.get().pay_by.strftime("%H:%M:%S")
    # The time is constant, so a screen reader reads the sentence once, and not again with every refresh.
    assert alarms(shown) == [f"1 order is overdue and not cancelled. Its deadline was {over_at} UTC."]
    assert 'data-late="1"' in shown
    assert Order.objects.get().status == "awaiting_payment", "looking must not change what is shown"
    unpaid_orders().lapse_overdue()
    assert alarms(overview()) == []


@pytest.mark.usefixtures("worker")
def test_how_late_is_a_setting(overview: Callable[[], str], settings: Settings, buyer: User, cup: Product) -> None:
    """A shop may set a longer time before the alarm."""
    settings.CONSOLE_LATE_AFTER = timedelta(minutes=1)
    order = order_of(buyer, cup)
    overdue_by(order, 50)
    assert alarms(overview()) == []
    overdue_by(order, 70)
    assert len(alarms(overview())) == 1


@pytest.mark.usefixtures("worker")
def test_orders_that_wait_for_the_payment_service(overview: Callable[[], str], buyer: User, cup: Product) -> None:
    """Several orders are counted, and the banner says how many of them wait for the gateway."""
    for order in [order_of(buyer, cup) for _ in range(3)]:
        overdue_by(order, 60)
    Order.objects.filter(pk=order.pk).update(status="closing")
    (alarm,) = alarms(overview())
    assert re.fullmatch(
        r"3 orders are overdue .* deadline was [0-9:]+ UTC\. 1 waits for the payment service's answer\.", alarm
    )


def test_no_worker(overview: Callable[[], str], worker: WorkerHeartbeat) -> None:
    """The alarm is shown if no worker ever reported and if a worker became silent. A new heartbeat ends the alarm."""
    silent = "No worker has reported for 15 seconds. Start manage.py lapse_worker."
    assert alarms(overview()) == []
    WorkerHeartbeat.objects.update(seen_at=Now() - timedelta(seconds=16))
    assert alarms(overview()) == [silent]
    WorkerHeartbeat.objects.all().delete()
    assert alarms(overview()) == [silent]
    worker.save()
    WorkerHeartbeat.objects.update(seen_at=Now())
    assert alarms(overview()) == []


@pytest.mark.usefixtures("worker")
def test_the_timers_numbers(overview: Callable[[], str], buyer: User, cup: Product) -> None:
    """Pending, due, claimed and buried are the timer's own counts."""
    opened = timer()
    assert opened is not None
    order_of(buyer, cup)
    shown = overview()
    assert re.findall(r'data-timer="(\w+)" data-count="(\d+)"', shown)[0] == ("pending", str(opened.stats().pending))
    opened.disarm(Order.objects.values_list("public_id", flat=True))


@pytest.mark.usefixtures("worker")
def test_a_timer_that_hangs(overview: Callable[[], str], redis: RedisServer) -> None:
    """While the timer hangs every request gets the page without the timer's numbers; later they are back."""
    assert 'data-timer="pending"' in overview()
    redis.freeze()
    begun = time.monotonic()
    for _ in range(8):
        shown = overview()
        assert "data-timer-error" in shown
        assert alarms(shown) == ["The timer does not answer. The workers' sweep still cancels overdue orders."]
    assert time.monotonic() - begun < PATIENCE
    redis.thaw()
    end = time.monotonic() + PATIENCE
    while "data-timer-error" in overview():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert alarms(overview()) == []


@pytest.mark.usefixtures("worker")
def test_a_timer_that_is_not_there(overview: Callable[[], str], settings: Settings) -> None:
    """No server listens at the timer's address: the page says so, without an error."""
    settings.LAPSE_TIMER = "redis://127.0.0.1:1/0"
    assert "data-timer-error" in overview()


@pytest.mark.usefixtures("worker")
def test_without_a_timer(overview: Callable[[], str], settings: Settings, merchant: User) -> None:
    """Without a timer, with the sweep alone, there is no alarm."""
    settings.LAPSE_TIMER = None
    shown = overview()
    assert "data-no-timer" in shown
    assert alarms(shown) == []
    client = Client()
    client.force_login(merchant)
    assert "data-no-timer" in client.get("/console/buried/").content.decode()
    assert client.post("/console/buried/revive/", {"key": "1"}).status_code == 302


@pytest.mark.usefixtures("worker")
def test_a_strangers_key_and_reason_are_text_on_the_page(merchant: User) -> None:
    """A key with markup, a line end and reversed text in it is shown whole, and the button revives that key."""
    opened = timer()
    assert opened is not None
    key = "cart[<b>vip</b>]\n\u202egnp.1\\ "
    opened.arm([Deadline(key, WorkerHeartbeat.objects.get().seen_at - timedelta(minutes=1))])
    opened.bury(opened.claim(), reason="<i>no</i> \u202e\x1b[31m")
    client = Client()
    client.force_login(merchant)
    page = client.get("/console/buried/").content.decode()
    assert "".join(page.split("\n")).isprintable()
    shown = unescape(page)
    assert r'<code class="whole">cart[<b>vip</b>]\n\u202egnp.1\\\x20</code>' in shown
    assert r"<p><i>no</i> \u202e\x1b[31m</p>" in shown
    assert "<b>" not in page
    (field,) = re.findall(r'name="key" value="([^"]*)"', page)
    said = client.post("/console/buried/revive/", {"key": unescape(field)}, follow=True).content.decode()
    assert "The deadline is due again" in said
    (again,) = opened.claim()
    assert again.key == key
    opened.disarm([key])


@pytest.mark.usefixtures("worker")
def test_buried_and_revived(overview: Callable[[], str], redis: RedisServer, merchant: User) -> None:
    """A buried deadline raises the alarm, is listed with its reason, and is due again after one press."""
    opened = timer()
    assert opened is not None
    opened.arm([Deadline("abc", (past := WorkerHeartbeat.objects.get().seen_at - timedelta(minutes=1)))])
    claims = opened.claim()
    opened.bury(claims, reason="stock row <missing>")
    assert alarms(overview()) == ["1 deadline is buried: every attempt to cancel its order failed."]
    client = Client()
    client.force_login(merchant)
    listed = client.get("/console/buried/").content.decode()
    assert 'data-buried="abc"' in listed
    assert "stock row &lt;missing&gt;" in listed
    said = client.post("/console/buried/revive/", {"key": "abc"}, follow=True).content.decode()
    assert "The deadline is due again" in said
    assert 'data-buried="abc"' not in said
    assert alarms(overview()) == []
    (again,) = opened.claim()
    assert (again.key, again.attempt, again.due_at) == ("abc", 1, again.due_at)
    assert again.due_at >= past
    for nothing in ({"key": "abc"}, {"key": ""}, {}):
        said = client.post("/console/buried/revive/", nothing, follow=True).content.decode()
        assert "This deadline is no longer buried" in said
    redis.kill()
    assert "The timer does not answer" in client.get("/console/buried/").content.decode()
    said = client.post("/console/buried/revive/", {"key": "abc"}, follow=True).content.decode()
    assert "The timer does not answer" in said


def test_a_shop_with_an_open_attempt_lapses_by_hand(buyer: User, cup: Product) -> None:
    """What the console counts as late is what lapsing can end, an open attempt to pay or not."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    overdue_by(order, 60)
    unpaid_orders().lapse([order.public_id])
    assert Order.objects.get().status == "cancelled"
