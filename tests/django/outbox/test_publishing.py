"""Publishing: with the shop's transaction, by one statement, and without any where no endpoint wants the type."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from lapse import InvalidDeadline
from lapse.integrations.django.outbox import publish, publish_many
from lapse.integrations.django.outbox.models import Delivery
from tests.django.outbox.conftest import ALIAS, SECRET, each_database

pytestmark = pytest.mark.usefixtures("database", "declared")


def of_orders(count: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield keys and data of so many orders."""
    for number in range(count):
        yield str(number), {"order": str(number)}


def test_a_rollback_takes_the_message_back() -> None:
    """A message of a transaction that fails is never sent; outside of a transaction it is committed at once."""
    with transaction.atomic(using=ALIAS):
        publish("order.paid", key="1", data={"order": "1"})
        assert Delivery.objects.count() == 1
        transaction.set_rollback(True, using=ALIAS)
    assert not Delivery.objects.exists()
    publish("order.paid", key="1", data={"order": "1"})
    assert Delivery.objects.get().state == "waiting"


def test_a_batch_is_one_statement() -> None:
    """Messages about 500 orders are one INSERT."""
    with CaptureQueriesContext(connections[ALIAS]) as queries, transaction.atomic(using=ALIAS):
        assert publish_many("order.lapsed", of_orders(500)) == 500
    inserts = [query["sql"] for query in queries if "INSERT" in query["sql"]]
    assert len(inserts) == 1
    assert Delivery.objects.count() == 500
    assert Delivery.objects.values("message").distinct().count() == 500


@pytest.mark.parametrize("setting", [None, {}, {"webhooks": []}, "other types"])
def test_nothing_is_done_without_an_endpoint_that_wants_it(settings: Settings, setting: Any) -> None:
    """No statement is sent, and the data is not even made."""
    wants_other = {"url": "https://shop.example/", "secrets": [SECRET], "types": ["order.paid"]}
    settings.LAPSE_OUTBOX = {"webhooks": [wants_other]} if setting == "other types" else setting
    with CaptureQueriesContext(connections[ALIAS]) as queries:
        assert publish_many("order.lapsed", (1 / 0 for _ in range(1))) == 0  # type: ignore[misc] # never iterated
    assert not queries.captured_queries


def test_each_endpoint_has_a_row_with_the_messages_id(settings: Settings) -> None:
    """Two endpoints receive one message, whose id they share; the data is as JSON has it."""
    addresses = [{"url": f"https://{name}.example/", "secrets": [SECRET]} for name in ("one", "two")]
    settings.LAPSE_OUTBOX = {"webhooks": addresses, "mail": {"function": "shop.mails.mail", "types": ["other"]}}
    data = {"total": Decimal("5.80"), "at": datetime(2026, 1, 2, tzinfo=UTC), "name": "茶", "nul": "\0"}
    publish("order.paid", key="订单", data=data)
    one, two = Delivery.objects.order_by("pk")
    assert (one.endpoint, two.endpoint) == ("one.example", "two.example")
    assert one.message == two.message
    assert one.document == two.document
    assert one.document.isascii()
    content = json.loads(one.document)
    assert content["data"] == {"total": "5.80", "at": "2026-01-02T00:00:00Z", "name": "茶", "nul": "\0"}
    assert content["type"] == "order.paid"
    assert datetime.fromisoformat(content["timestamp"]).tzinfo == UTC


@pytest.mark.parametrize(
    ("kind", "key", "data", "error"),
    [
        ("order paid", "1", {}, ValueError),
        ("order..paid", "1", {}, ValueError),
        ("order." + "x" * 100, "1", {}, ValueError),
        ("order.paid", "", {}, InvalidDeadline),
        ("order.paid", "a\0b", {}, InvalidDeadline),
        ("order.paid", "1", {"ratio": float("nan")}, ValueError),
        ("order.paid", "1", {"thing": object()}, TypeError),
    ],
)
def test_what_no_message_can_have_is_refused(kind: str, key: str, data: Any, error: type[Exception]) -> None:
    """The caller receives the error at once, inside its transaction."""
    with pytest.raises(error):
        publish(kind, key=key, data=data)


@each_database
def test_characters_that_a_table_may_not_take() -> None:
    """An emoji and a lone surrogate are stored in ASCII, on any database and in any character set."""
    publish("order.paid", key="1", data={"order": "1", "note": "🍵 \ud800"})
    assert Delivery.objects.get().document.isascii()
