"""Server-sent events: a real web server, whose open streams receive each change at its commit."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client

from lapse.integrations.django import unpaid_orders
from lapse.testing.postgres_server import PostgresServer
from shop.catalogue.models import Product
from shop.orders.models import Order, Reason
from shop.orders.transitions import cancel
from shop.payments.development import pay_now
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.shop.rehearsal import make_overdue, order_of, reconcile, report_paid
from tests.shop.streams import PATIENCE, Web


@pytest.fixture(scope="module")
def server(django_db_setup: None) -> Iterator[Web]:
    """Start a web server for several tests."""
    del django_db_setup
    server = Web()
    try:
        yield server
        output = server.stop()
        assert "Traceback" not in output, output
    finally:
        server.close()


@pytest.fixture
def web(transactional_db: None, server: Web) -> Iterator[Web]:
    """Return the web server, and leave its streams after the test."""
    del transactional_db
    yield server
    server.leave()


@pytest.fixture
def own_web(transactional_db: None) -> Iterator[Web]:
    """Open a web server for one test, which ends it."""
    del transactional_db
    server = Web()
    try:
        yield server
    finally:
        server.close()


def status(value: str) -> Callable[[dict[str, Any]], bool]:
    """Wait for this status."""
    return lambda state: state["status"] == value


def is_one(wanted: tuple[str, str]) -> Callable[[dict[str, Any]], bool]:
    """Wait for this order with this status."""
    return lambda state: (state["id"], state["status"]) == wanted


def test_an_order_that_is_paid_cancelled_or_lapses(web: Web, buyer: User, cup: Product) -> None:
    """A stream sends the state of its order at once, and each change at its commit; so does the stock's stream."""
    paid, cancelled, lapsed = (order_of(buyer, cup, 2) for _ in range(3))
    streams = [web.listen(f"/orders/{order.public_id}/events/", buyer) for order in (paid, cancelled, lapsed)]
    mine, stock = web.listen("/orders/events/", buyer), web.listen("/stock/events/")
    for stream in streams:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["Cache-Control"] == "no-store"
        assert "Content-Security-Policy" in stream.headers
        first = stream.until(status("awaiting_payment"))
        assert first["payable"]
        assert first["now"] < first["pay_by"]
    stock.until(lambda state: state == {"CUP": 4})
    assert pay_now(payment_link(paid.pk).strip("/").rsplit("/", 1)[-1])
    streams[0].until(status("paid"))
    cancel(cancelled.pk, reason=Reason.BUYER, who="buyer")
    assert streams[1].until(status("cancelled"))["cancel_reason"] == "buyer"
    stock.until(lambda state: state == {"CUP": 6})
    make_overdue(lapsed)
    unpaid_orders().lapse([lapsed.public_id])
    assert streams[2].until(status("cancelled"))["cancel_reason"] == "expired"
    stock.until(lambda state: state == {"CUP": 8})
    ended = {(paid.public_id, "paid"), (cancelled.public_id, "cancelled"), (lapsed.public_id, "cancelled")}
    for one in ended:
        mine.until(is_one(one))
    assert [state["id"] for state in streams[0].states] == [paid.public_id] * len(streams[0].states)


def test_money_of_an_order_that_is_over(web: Web, buyer: User, cup: Product) -> None:
    """The order's row stays as it is. Its page learns that money came, and that it went back."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    cancel(order.pk, reason=Reason.BUYER, who="buyer")
    stream = web.listen(f"/orders/{order.public_id}/events/", buyer)
    seen = [stream.until(status("cancelled"))["money"]]
    report_paid(PaymentAttempt.objects.get().reference)
    seen.append(stream.until(lambda state: state["money"] not in seen)["money"])
    reconcile()
    stream.until(lambda state: state["money"] not in seen)


def test_strangers_receive_nothing(web: Web, buyer: User, rival: User, cup: Product) -> None:
    """Another's order, one that does not exist, and any order without signing in are a 404."""
    order = order_of(buyer, cup)
    for user in (rival, None):
        assert web.listen(f"/orders/{order.public_id}/events/", user).status == 404
    assert web.listen("/orders/nothing/events/", buyer).status == 404
    assert web.listen("/orders/events/").status == 404


def test_what_is_rolled_back_is_not_sent(web: Web, cup: Product) -> None:
    """A change is sent when it is committed, and never without a commit."""
    stock = web.listen("/stock/events/")
    stock.until(lambda state: state == {"CUP": 10})
    with transaction.atomic():
        Product.objects.update(on_hand=7)
        transaction.set_rollback(True)
    Product.objects.filter(pk=cup.pk).update(on_hand=8)
    stock.until(lambda state: state == {"CUP": 8})
    assert {"CUP": 7} not in stock.states


def test_five_hundred_orders_lapse_together(web: Web, buyer: User, cup: Product) -> None:
    """All five hundred orders are announced, although one notification cannot hold all their numbers."""
    Product.objects.update(on_hand=1000)
    first = order_of(buyer, cup)
    Order.objects.bulk_create(
        Order(buyer=buyer, status="awaiting_payment", total=0, placed_at=first.placed_at, pay_by=first.pay_by)
        for _ in range(500)
    )
    newest = Order.objects.order_by("-id")[0]
    streams = [web.listen(f"/orders/{order.public_id}/events/", buyer) for order in (first, newest)]
    make_overdue(*Order.objects.all())
    done = unpaid_orders().lapse(list(Order.objects.values_list("public_id", flat=True)))
    assert len(done) == 501
    for stream in streams:
        stream.until(status("cancelled"))


def test_the_database_hangs_up(web: Web, buyer: User, cup: Product) -> None:
    """When its connection is killed, the server listens again and sends every open stream what it has missed."""
    order = order_of(buyer, cup)
    stream, stock = web.listen(f"/orders/{order.public_id}/events/", buyer), web.listen("/stock/events/")
    stock.until(lambda state: state == {"CUP": 9})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
        assert cursor.fetchone() == (1,)
    cancel(order.pk, reason=Reason.BUYER, who="buyer")
    stream.until(status("cancelled"))
    stock.until(lambda state: state == {"CUP": 10})
    again = order_of(buyer, cup, 3)
    stock.until(lambda state: state == {"CUP": 7})
    assert again.status == "awaiting_payment"


def test_open_streams_hold_no_thread_and_do_not_delay_the_end(own_web: Web, buyer: User, cup: Product) -> None:
    """Many streams share one connection and no threads; a stop ends them in good order, well within its bound."""
    order = order_of(buyer, cup)
    path = f"/orders/{order.public_id}/events/"
    first = own_web.listen("/stock/events/")
    first.until(lambda state: state == {"CUP": 9})
    before = own_web.threads()
    streams = [own_web.listen("/stock/events/") for _ in range(40)] + [own_web.listen(path, buyer) for _ in range(12)]
    for stream in streams:
        stream.until(bool)
    assert own_web.threads() < before + 20, "to_thread keeps a few; there are 52 streams"
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        assert cursor.fetchone()[0] < 15
    refused = own_web.listen(path, buyer)
    assert refused.status == 429
    assert refused.headers["Retry-After"]
    streams[-1].leave()
    output = own_web.stop()
    assert "Cancel" not in output, output
    assert "Traceback" not in output, output
    for stream in streams[:-1]:
        assert stream.ended.wait(PATIENCE)
        assert not stream.broken


@pytest.mark.long
def test_the_database_restarts(transactional_db: None, buyer: User) -> None:
    """When PostgreSQL restarts, an open stream stays open and sends what has changed since."""
    del transactional_db, buyer
    with ExitStack() as stack:
        own = stack.enter_context(PostgresServer())
        environment = {"DATABASE_URL": own.url, "DJANGO_SETTINGS_MODULE": "shop.settings"}
        for command in (["migrate", "--verbosity=0"], ["seed"]):
            subprocess.run(
                [sys.executable, "-m", "shop.manage", *command],
                env=os.environ | environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        web = Web(DATABASE_URL=own.url)
        stack.callback(web.close)
        stock = web.listen("/stock/events/")
        stock.until(lambda state: state["STONE-TRAY"] == 5)
        own.restart()
        change = "from shop.catalogue.models import Product; Product.objects.update(on_hand=99)"
        subprocess.run(
            [sys.executable, "-m", "shop.manage", "shell", "-c", change],
            env=os.environ | environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        stock.until(lambda state: state["STONE-TRAY"] == 99)
        assert not stock.ended.is_set()


def test_without_asgi_a_stream_is_one_event(client: Client, cup: Product) -> None:
    """Another server sends the current state and ends; the browser asks again by itself."""
    del cup
    answer = client.get("/stock/events/")
    assert answer.content == b'retry: 2000\n\nevent: stock\ndata: {"CUP":10}\n\n'
