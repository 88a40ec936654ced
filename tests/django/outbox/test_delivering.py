"""Delivering: at least once, after the commit, and in sequence for each key, when receivers and workers fail."""

import json
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from django.db import transaction
from pytest_django import Settings
from standardwebhooks.webhooks import Webhook as Verifying

from lapse import Backoff, Claim
from lapse.integrations.django.outbox import publish
from lapse.integrations.django.outbox.history import give_up, send_again
from lapse.integrations.django.outbox.models import Delivery, State
from lapse.integrations.django.outbox.queue import DeliveryQueue
from tests.django.outbox.conftest import ALIAS, SECRET, each_database
from tests.django.outbox.delivering import running, wait_for_all
from tests.engine.running import wait_until
from tests.watch.receiver import OK, Answer, Receiver

pytestmark = pytest.mark.usefixtures("database", "declared")
BUSY: Answer = (503, {})


def send(key: str, number: int = 0) -> None:
    """Publish one message of this key."""
    publish("order.paid", key=key, data={"order": key, "number": number})


def numbers_by_key(receiver: Receiver) -> dict[str, list[int]]:
    """Return the numbers of the messages of each key in the sequence of the calls, each once for several in a row."""
    found: dict[str, list[int]] = defaultdict(list)
    for call in receiver.calls:
        number = json.loads(call.text)["data"]["number"]
        if found[call.key][-1:] != [number]:
            found[call.key].append(number)
    return found


def test_a_message_is_one_that_the_library_verifies(receiver: Receiver) -> None:
    """The signature, the id and the form are those of the specification, and bytes are those of JSON.stringify."""
    publish("order.paid", key="订单-1", data={"order": "订单-1", "total": "5.80", "pieces": 2.0})
    with running():
        wait_for_all()
    (call,) = receiver.calls
    content = Verifying(SECRET).verify(call.text, call.headers)
    row = Delivery.objects.get()
    assert content == {"type": "order.paid", "timestamp": content["timestamp"], "data": content["data"]}
    assert '"data":{"order":"订单-1","total":"5.80","pieces":2}' in call.text
    assert call.headers["webhook-id"] == row.message
    assert (row.answer, row.tries, row.due_at) == ("200 OK", 1, None)
    assert row.ended_at is not None


@each_database
def test_two_workers_keep_the_sequence_of_each_key(receiver: Receiver) -> None:
    """Calls fail now and then, and two workers share the messages: of each key they come one after the other."""
    keys = [str(number) for number in range(6)]
    for key in keys:
        receiver.answers[key] = [OK, BUSY, BUSY, OK]
    for number in range(5):
        for key in keys:
            send(key, number)
    with running(2):
        wait_for_all()
    assert numbers_by_key(receiver) == {key: [0, 1, 2, 3, 4] for key in keys}
    assert len(receiver.calls) == len(keys) * 7


def test_a_message_that_is_refused_holds_back_its_key_only(receiver: Receiver) -> None:
    """Messages of other keys arrive meanwhile, and the message that is refused is tried again."""
    receiver.answers["bad"] = [(400, {})] * 1000
    send("bad", 0)
    send("bad", 1)
    for number in range(20):
        send("good", number)
    with running():
        wait_until(lambda: len(numbers_by_key(receiver)["good"]) == 20, "the good messages did not arrive")
        wait_until(lambda: receiver.keys.count("bad") >= 3, "the bad message was not tried again")
        assert numbers_by_key(receiver)["bad"] == [0]
        receiver.answers["bad"] = []
        wait_for_all()
    assert numbers_by_key(receiver)["bad"] == [0, 1]


def test_a_receiver_that_was_down_gets_all_in_sequence(receiver: Receiver) -> None:
    """While it is down, one message at a time tries it, and the others are not counted as tried."""
    receiver.otherwise = BUSY
    for number in range(3):
        for key in range(20):
            send(str(key), number)
    with running():
        receiver.wait_for(6)
        time.sleep(1.5)  # without the protection, each of the 20 keys is tried ten times in a second
        assert len(receiver.calls) < 20, "every message tried a receiver that was down"
        assert Delivery.objects.filter(tries=0).count() >= 40
        receiver.otherwise = OK
        wait_for_all()
    assert numbers_by_key(receiver) == {str(key): [0, 1, 2] for key in range(20)}


def test_a_slow_receiver_delays_its_own_messages_only(settings: Settings, receiver: Receiver) -> None:
    """The second endpoint receives all while the first one answers no call."""
    ended = threading.Event()
    receiver.before_answer = lambda _: ended.wait(30)
    with Receiver() as other:
        settings.LAPSE_OUTBOX = {
            "webhooks": [
                {"name": name, "url": each.url, "secrets": [SECRET]}
                for name, each in (("slow", receiver), ("quick", other))
            ]
        }
        for number in range(10):
            send(str(number))
        with running():
            wait_until(lambda: len(other.calls) == 10, "the quick endpoint waited for the slow one")
            assert not Delivery.objects.filter(endpoint="slow", state=State.DELIVERED).exists()
            ended.set()
            wait_for_all()
    assert {call.headers["webhook-id"] for call in receiver.calls} == {
        call.headers["webhook-id"] for call in other.calls
    }


@pytest.mark.parametrize("header", ["2", pytest.param("date", marks=pytest.mark.long)])
def test_retry_after_is_honoured(receiver: Receiver, header: str) -> None:
    """The next try is not earlier than the receiver asks."""
    wait = timedelta(seconds=2)
    text = "2" if header == "2" else format_datetime(datetime.now(UTC) + wait, usegmt=True)
    receiver.answers["1"] = [(429, {"Retry-After": text})]
    send("1")
    with running():
        wait_for_all()
    first, second = receiver.calls
    assert second.at - first.at >= wait - timedelta(seconds=1)  # a date has no fractions of a second


def test_a_gone_address_is_tried_again_and_says_so(receiver: Receiver) -> None:
    """410 disables nothing: who declared the address removes it. Until then it is a failure like others."""
    receiver.answers["1"] = [(410, {})] * 2
    send("1")
    with running(backoff=Backoff(first=timedelta(seconds=1), most=timedelta(seconds=1))):
        wait_until(lambda: Delivery.objects.get().answer != "", "no answer was stored")
        assert "remove the address from LAPSE_OUTBOX" in Delivery.objects.get().answer
        wait_for_all()
    assert len(receiver.calls) == 3


def test_after_the_last_try_it_is_buried_until_a_person_decides(settings: Settings, receiver: Receiver) -> None:
    """Later messages of the key wait for the decision: sent again, or given up."""
    settings.LAPSE_OUTBOX = settings.LAPSE_OUTBOX | {"tries": 3}
    receiver.answers["1"], receiver.answers["2"] = [(500, {})] * 3, [(500, {})] * 3
    for number in range(2):
        send("1", number)
        send("2", number)
    with running():
        wait_until(lambda: Delivery.objects.filter(state=State.BURIED).count() == 2, "nothing was buried")
        one, two = Delivery.objects.filter(state=State.BURIED).order_by("key")
        assert one.answer == "500 Internal Server Error: it answered {}"
        assert one.tries == 3
        assert Delivery.objects.filter(state=State.WAITING, tries=0).count() == 2
        assert give_up(one.pk)
        assert send_again(two.pk)
        wait_until(lambda: Delivery.objects.filter(state=State.DELIVERED).count() == 3, "the keys did not go on")
    assert numbers_by_key(receiver) == {"1": [0, 1], "2": [0, 1]}
    assert [call.key for call in receiver.calls].count("1") == 4
    assert Delivery.objects.get(pk=one.pk).state == State.GIVEN_UP


def test_sent_again_it_has_its_id(receiver: Receiver) -> None:
    """A person can send a delivered message again, so that a receiver that knows it may ignore it."""
    send("1")
    with running():
        wait_for_all()
        assert send_again(Delivery.objects.get().pk)
        wait_until(lambda: len(receiver.calls) == 2, "it was not sent again")
        wait_for_all()
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1


def test_what_is_committed_later_is_sent_without_a_wake_up(receiver: Receiver) -> None:
    """The look at the table finds a message whose process has ended before it could wake a worker."""
    with running():
        with transaction.atomic(using=ALIAS):
            send("1")
            assert not receiver.calls
        Delivery.objects.filter(key="1").update(key="2")  # the commit has woken the worker; the next row has not
        wait_for_all()
        row = Delivery.objects.get()
        Delivery.objects.bulk_create(
            [
                Delivery(
                    message="msg_2",
                    endpoint="shop",
                    key="3",
                    type="order.paid",
                    document=row.document,
                    due_at=row.made_at,
                    made_at=row.made_at,
                )
            ]
        )
        wait_until(lambda: len(receiver.calls) == 2, "the row was not found")


@each_database
def test_a_claim_is_held_by_one_and_a_late_worker_changes_nothing() -> None:
    """The lease of a frozen worker ends, another worker claims, and the first one's words have no effect."""
    send("1", 0)
    send("1", 1)
    frozen, other = DeliveryQueue("shop"), DeliveryQueue("shop")
    (late,) = frozen.claim(10, lease=timedelta(milliseconds=200))
    assert other.claim(10) == []
    taken: list[Claim] = []

    def take() -> bool:
        taken.extend(other.claim(10))
        return bool(taken)

    wait_until(take, "the claim was not taken over")
    (held,) = taken
    assert (held.key, held.attempt) == (late.key, 2)
    assert held.token > late.token
    frozen.note(late, "late")
    assert frozen.renew([late]) == []
    assert frozen.settle([late]) == frozen.release([late]) == frozen.bury([late], reason="late") == 0
    assert Delivery.objects.get(pk=int(held.key.split()[0])).answer == ""
    assert other.renew([held]) != []
    assert other.settle([held]) == 1
    (second,) = other.claim(10)
    assert second.key != held.key
