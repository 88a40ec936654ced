"""Libraries log no calls in the programs that Lapse starts: a gateway's URL may hold a signature."""

import logging
import sys
from collections.abc import Iterator

import httpx
import pytest

from lapse.cli import main
from lapse.integrations.django.command import LapseCommand
from lapse.observability import quiet_libraries
from lapse.observability.quiet import CHATTY

URL = "https://gateway.example/pay?sign=c2VjcmV0"


@pytest.fixture(autouse=True)
def talkative() -> Iterator[None]:
    """Let every library log as it likes, and give back its level afterwards."""
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET)
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def call_gateway() -> None:
    """Call a gateway as the handlers of a shop do."""
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        client.get(URL)


def test_a_signed_url_reaches_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """What httpx logs of each call is left out, also where the log takes everything; its warnings stay."""
    caplog.set_level(logging.DEBUG)
    call_gateway()
    assert "sign=" in caplog.text  # or this test proves nothing
    caplog.clear()
    quiet_libraries()
    call_gateway()
    assert "sign=" not in caplog.text
    logging.getLogger("httpx").warning("a warning")
    assert "a warning" in caplog.text


def test_a_stricter_level_stays() -> None:
    """A shop that wants errors only goes on having errors only."""
    logging.getLogger("pika").setLevel(logging.ERROR)
    quiet_libraries()
    assert logging.getLogger("pika").level == logging.ERROR


def test_every_command_quiets_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command `lapse` does so before anything else."""
    monkeypatch.setattr(sys, "argv", ["lapse", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert logging.getLogger("httpx").level == logging.WARNING


def test_every_command_of_django_quiets_libraries() -> None:
    """So does each command of the Django integration."""

    class Command(LapseCommand):
        requires_system_checks = ()

        def handle(self, *_: object, **__: object) -> None:
            call_gateway()

    Command().execute(force_color=False, no_color=True, skip_checks=True)
    assert logging.getLogger("httpx").level == logging.WARNING
