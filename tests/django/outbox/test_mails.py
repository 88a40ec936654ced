"""Mails: the shop's function makes them, and they follow the rules of every message."""

import smtplib
from collections.abc import Sequence
from typing import Any

import django
import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends import locmem
from pytest_django import Settings

from lapse.integrations.django.outbox import Message, publish
from lapse.integrations.django.outbox.models import Delivery, State
from tests.django.outbox.delivering import running, wait_for_all

pytestmark = pytest.mark.usefixtures("database")


def make(message: Message) -> EmailMessage | None:
    """Return the mail to the buyer of a paid order; raise for one without a number."""
    if message.type == "order.placed":
        return None
    subject = f"Order {message.data['number']} is paid"
    return EmailMessage(subject, f"{message.key}, {message.timestamp:%Y}", "shop@shop.example", ["buyer@shop.example"])


class Refusing(locmem.EmailBackend):
    """Refuses the first mail of each subject."""

    refused: list[str] = []  # noqa: RUF012 - Django makes an object of the class for each mail

    def send_messages(self, messages: Sequence[Any]) -> int:
        """Send them, or raise as a server that does not take a mail now."""
        (message,) = messages
        if message.subject not in self.refused:
            self.refused.append(message.subject)
            raise smtplib.SMTPDataError(451, b"try again later")
        return super().send_messages(messages)


@pytest.fixture(autouse=True)
def declared(settings: Settings) -> None:
    """Declare the function."""
    settings.LAPSE_OUTBOX = {"mail": f"{__name__}.make"}


def test_mails_come_in_sequence_with_the_messages_id(settings: Settings) -> None:
    """A server that refuses at first gets each mail once more, and the mail's id is made of the message's."""
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": f"{__name__}.Refusing"}}
    else:
        settings.EMAIL_BACKEND = f"{__name__}.Refusing"
    Refusing.refused.clear()
    publish("order.placed", key="1", data={})
    for number in range(3):
        publish("order.paid", key="1", data={"number": number})
    with running():
        wait_for_all()
    assert [message.subject for message in mail.outbox] == [f"Order {number} is paid" for number in range(3)]
    ids = Delivery.objects.filter(type="order.paid").order_by("pk").values_list("message", flat=True)
    assert [message.extra_headers["Message-ID"] for message in mail.outbox] == [f"<{id_}@shop.example>" for id_ in ids]
    assert list(Delivery.objects.order_by("pk").values_list("answer", flat=True)) == [
        "no mail for this message",
        *["sent to buyer@shop.example"] * 3,
    ]
    assert len(Refusing.refused) == 3


def test_an_error_of_the_function_is_shown_and_buries(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """The traceback is in the log, the error is in the row, and a person can give the message up."""
    settings.LAPSE_OUTBOX = settings.LAPSE_OUTBOX | {"mail": {"function": f"{__name__}.make"}, "tries": 2}
    publish("order.paid", key="1", data={})
    with running():
        wait_for_all(State.BURIED)
    assert Delivery.objects.get().answer == "KeyError: 'number'"
    assert "Traceback" in caplog.text
    assert not mail.outbox


def test_a_mail_without_a_recipient_is_no_success(settings: Settings) -> None:
    """Django sends such a mail to nowhere and reports 0; the outbox does not call it delivered."""
    settings.LAPSE_OUTBOX = {"mail": f"{__name__}.make_without_recipient", "tries": 1}
    publish("order.paid", key="1", data={})
    with running():
        wait_for_all(State.BURIED)
    assert "no recipient" in Delivery.objects.get().answer


def make_without_recipient(_: Message) -> EmailMessage:
    """Return a mail to nowhere."""
    return EmailMessage("subject", "body", "shop@shop.example", [])
