"""LAPSE_OUTBOX: a wrong setting is refused by `manage.py check`, and no secret is shown."""

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import CheckMessage
from django.core.management import CommandError, call_command
from django.db import models, router
from pytest_django import Settings

from lapse.engine.errors import MissingLibrary
from lapse.integrations.django.outbox import checks
from lapse.integrations.django.outbox.checks import check_outbox
from lapse.integrations.django.outbox.settings import outbox_settings
from tests.django.outbox.conftest import SECRET

GOOD = {"url": "https://shop.example/hooks/token-in-the-path?key=token", "secrets": [SECRET]}


def found(settings: Settings, setting: Any) -> list[CheckMessage]:
    """Return what the check finds with this setting."""
    settings.LAPSE_OUTBOX = setting
    return check_outbox()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ([], None),
        ({"webhooks": [GOOD], "mail": "tests.django.outbox.test_mails.make", "keep": timedelta(days=1)}, None),
        ({"webhooks": [GOOD | {"types": ["free.to_choose"], "timeout": 5}]}, None),
        ("shop", "must be a dictionary"),
        ({"webhook": []}, "no option 'webhook'; its options are concurrency, keep, mail, tries, webhooks"),
        ({"webhooks": GOOD}, "must be a list"),
        ({"webhooks": [GOOD | {"typ": 1}]}, "no option 'typ'"),
        ({"webhooks": [{"secrets": [SECRET]}]}, "needs a 'url'"),
        ({"webhooks": [{"url": GOOD["url"]}]}, "'secrets' of shop.example must be a list"),
        ({"webhooks": [GOOD | {"secrets": SECRET}]}, "must be a list"),
        ({"webhooks": [GOOD | {"secrets": ["whsec_c2hvcnQ="]}]}, "has 5 bytes, but needs at least 24"),
        ({"webhooks": [GOOD | {"secrets": ["no base64!"]}]}, "not base64"),
        ({"webhooks": [GOOD | {"url": "http://shop.example/"}]}, "use https://"),
        ({"webhooks": [GOOD | {"url": "shop.example"}]}, "Without a 'name'"),
        ({"webhooks": [GOOD | {"url": "https://user:secret@shop.example/"}]}, "must not contain a user or a password"),
        ({"webhooks": [GOOD | {"url": "https://shop.example:port/"}]}, "cannot be read"),
        ({"webhooks": [GOOD | {"types": "order.paid"}]}, "must be a list"),
        ({"webhooks": [GOOD | {"types": []}]}, "is empty"),
        ({"webhooks": [GOOD | {"types": ["order paid"]}]}, "separated by full stops"),
        ({"webhooks": [GOOD | {"timeout": 0}]}, "more than 0 and at most 60"),
        ({"webhooks": [GOOD, GOOD]}, "two endpoints are named 'shop.example'"),
        ({"webhooks": [GOOD | {"name": "mail"}]}, "is not 'mail'"),
        ({"mail": "shop.nowhere.mail"}, "cannot be imported"),
        ({"mail": "shop.__doc__"}, "is not a function"),
        ({"mail": {"types": ["order.paid"]}}, "with a 'function'"),
        ({"tries": 0}, "'tries' must be a whole number"),
        ({"concurrency": "4"}, "'concurrency' must be a whole number"),
        ({"keep": 30}, "'keep' must be a timedelta"),
    ],
)
def test_the_check_says_what_to_write(settings: Settings, setting: Any, words: str | None) -> None:
    """What is right passes; what is wrong is one error, which shows neither secret nor path."""
    messages = found(settings, setting)
    if words is None:
        assert messages == []
        return
    (message,) = messages
    assert words in message.msg
    assert message.id == "lapse_outbox.E001"
    for secret in ("token", SECRET, "c2hvcnQ", "user:secret"):
        assert secret not in message.msg


def test_a_setting_without_its_app_is_refused(settings: Settings) -> None:
    """The shop's own check refuses it, because the outbox's check is not registered without the app."""
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if not app.endswith(".outbox")]
    (message,) = found(settings, {"webhooks": [GOOD]})
    assert message.id == "lapse_outbox.E002"
    assert found(settings, None) == []
    assert not apps.is_installed(checks.APP)


def test_a_missing_library_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the command that installs it."""

    def missing(_: object) -> None:
        raise MissingLibrary("lapse.delivering", "watch")

    monkeypatch.setattr(checks, "open_channel", missing)
    (message,) = found(settings, {"webhooks": [GOOD]})
    assert "pip install '.[watch]'" in message.msg


class Elsewhere:
    """Sends the outbox to a database of its own."""

    def db_for_write(self, model: type[models.Model], **_: object) -> str | None:
        """Return another alias for the outbox."""
        return "other" if model._meta.app_label == "lapse_outbox" else None


def test_a_database_apart_from_the_orders_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message there would not be rolled back with its order's change."""
    monkeypatch.setattr(router, "routers", [Elsewhere()])
    (message,) = found(settings, {"webhooks": [GOOD]})
    assert message.id == "lapse_outbox.E003"


@pytest.mark.filterwarnings("ignore:The EMAIL_")  # from Django 6.1 on
def test_mails_without_a_time_limit_are_refused(settings: Settings) -> None:
    """A mail server that does not answer would hold a worker's thread for ever."""
    settings.EMAIL_BACKEND = checks.SMTP
    (message,) = found(settings, {"mail": "tests.django.outbox.test_mails.make"})
    assert message.id == "lapse_outbox.E004"
    settings.EMAIL_TIMEOUT = 10
    assert check_outbox() == []


def test_mailers_without_a_time_limit_are_refused(settings: Settings) -> None:
    """From Django 6.1 on, the setting MAILERS counts."""
    settings.MAILERS = {"default": {"BACKEND": checks.SMTP}}
    (message,) = found(settings, {"mail": "tests.django.outbox.test_mails.make"})
    assert message.id == "lapse_outbox.E004"
    settings.MAILERS = {"default": {"BACKEND": checks.SMTP, "OPTIONS": {"timeout": 10}}}
    assert check_outbox() == []


def test_secrets_are_in_no_repr(settings: Settings) -> None:
    """What a traceback or a log might show of the setting has no secret and no path."""
    settings.LAPSE_OUTBOX = {"webhooks": [GOOD]}
    assert "token" not in repr(outbox_settings())
    assert SECRET not in repr(outbox_settings())


def test_the_command_needs_an_endpoint(settings: Settings) -> None:
    """It says so, and ends."""
    settings.LAPSE_OUTBOX = None
    with pytest.raises(CommandError, match="declares no endpoint"):
        call_command("lapse_outbox")
