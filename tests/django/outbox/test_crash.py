"""A worker that is killed or stopped while a call is under way: the message is sent again, or finished."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lapse.integrations.django.outbox import publish
from lapse.integrations.django.outbox.models import Delivery
from tests.django.outbox.conftest import SECRET
from tests.django.outbox.delivering import running, wait_for_all
from tests.watch.receiver import Call, Receiver

CHECKOUT = Path(__file__).parents[3]


@contextmanager
def process(database: dict[str, Any], receiver: Receiver) -> "Iterator[subprocess.Popen[str]]":
    """Run `lapse_outbox` in a process of its own, and kill it at the end."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.django.outbox.worker_settings",
        "OUTBOX_DATABASE": json.dumps(database),
        "OUTBOX_SETTING": json.dumps({"webhooks": [{"name": "shop", "url": receiver.url, "secrets": [SECRET]}]}),
    }
    command = [sys.executable, "-m", "django", "lapse_outbox"]
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


@pytest.mark.usefixtures("declared")
def test_killed_between_the_call_and_its_settlement(database: dict[str, Any], receiver: Receiver) -> None:
    """The message comes twice, with one id, and the next message of its key comes after it."""
    for number in range(2):
        publish("order.paid", key="1", data={"order": "1", "number": number})
    with process(database, receiver) as worker:
        receiver.before_answer = lambda _: worker.kill()  # the call has come; its answer reaches no worker
        receiver.wait_for(1)
        assert worker.wait(30) == -signal.SIGKILL
    receiver.before_answer = lambda _: None
    with running():
        wait_for_all()
    ids = [call.headers["webhook-id"] for call in receiver.calls]
    assert ids[0] == ids[1]
    assert [json.loads(call.text)["data"]["number"] for call in receiver.calls] == [0, 0, 1]
    assert Delivery.objects.order_by("pk")[0].tries == 2


@pytest.mark.long
@pytest.mark.usefixtures("declared")
def test_sigterm_lets_a_call_end(database: dict[str, Any], receiver: Receiver) -> None:
    """A worker that receives SIGTERM during a call waits for the answer, stores it, and exits with code 0."""
    publish("order.paid", key="1", data={"order": "1"})
    with process(database, receiver) as worker:

        def stop(_: Call) -> None:
            worker.send_signal(signal.SIGTERM)

        receiver.before_answer = stop
        assert worker.wait(30) == 0
        assert worker.stdout is not None
        assert worker.stdout.read() == "delivering to shop; Ctrl-C or SIGTERM stops it\n"
    assert len(receiver.calls) == 1
    assert Delivery.objects.get().state == "delivered"
