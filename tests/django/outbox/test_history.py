"""What a page of a shop shows of the outbox, what a person decides there, and what is removed."""

from datetime import timedelta

import pytest
from django.db.models import F
from pytest_django import Settings

from lapse.integrations.django.outbox import publish
from lapse.integrations.django.outbox.history import (
    backlogs,
    deliveries,
    give_up,
    remove_old,
    send_again,
    send_now,
    undeclared,
)
from lapse.integrations.django.outbox.models import Delivery, State
from lapse.integrations.django.outbox.queue import DeliveryQueue
from tests.django.outbox.conftest import SECRET, each_database

pytestmark = pytest.mark.usefixtures("database", "declared")


@each_database
def test_what_a_person_decides(settings: Settings) -> None:
    """Each decision changes a row once, and an act on a row that another person has changed does nothing."""
    settings.LAPSE_OUTBOX = {"webhooks": [{"name": "shop", "url": "https://shop.example", "secrets": [SECRET]}]}
    publish("order.paid", key="1", data={})
    row = Delivery.objects.get()
    queue = DeliveryQueue("shop")
    assert not send_again(row.pk)
    assert not send_now(row.pk)
    (claim,) = queue.claim(1)
    queue.release([claim], delay=timedelta(hours=1))
    assert queue.claim(1) == []
    assert send_now(row.pk)
    (claim,) = queue.claim(1)
    assert give_up(row.pk)
    assert not give_up(row.pk)
    assert queue.settle([claim]) == 0
    assert Delivery.objects.get().state == State.GIVEN_UP
    assert send_again(row.pk)
    (claim,) = queue.claim(1)
    assert queue.bury([claim], reason="too often") == 1
    assert [buried.reason for buried in queue.buried()] == ["too often"]
    assert queue.revive([claim.key]) == 1
    assert queue.stats().due == 1


@each_database
def test_lists_and_counts() -> None:
    """A page finds messages by key, state and endpoint, the newest first, and counts what waits."""
    for number in range(3):
        publish("order.paid", key=str(number), data={})
    Delivery.objects.filter(key="0").update(state=State.BURIED)
    Delivery.objects.filter(key="1").update(endpoint="removed")
    assert [row.key for row in deliveries()] == ["2", "1", "0"]
    assert [row.key for row in deliveries(state="buried", endpoint="shop", key="0")] == ["0"]
    assert not deliveries(key="a\0")
    removed, shop = backlogs()
    assert (removed.endpoint, removed.waiting, removed.buried) == ("removed", 1, 0)
    assert (shop.endpoint, shop.waiting, shop.buried) == ("shop", 1, 1)
    assert shop.oldest is not None
    assert undeclared(["shop"]) == {"removed": 1}


@each_database
def test_old_messages_are_removed_and_what_is_open_stays() -> None:
    """Delivered and given up rows go when their time is over; rows that wait or are buried never do."""
    for state in State:
        publish("order.paid", key=state, data={})
        Delivery.objects.filter(key=state).update(
            state=state, ended_at=F("made_at") if state in {State.DELIVERED, State.GIVEN_UP} else None
        )
    assert remove_old(timedelta(hours=1)) == 0
    assert remove_old(timedelta(0)) == 2
    assert {row.key for row in deliveries()} == {State.WAITING, State.BURIED}
