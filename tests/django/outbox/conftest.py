"""An empty database with the outbox's table, a receiver, and the setting that declares the receiver."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, models, router
from pytest_django import DjangoDbBlocker, Settings

from lapse.integrations.django.outbox.models import Delivery
from tests.django.databases import made
from tests.timers.databases import NEEDS_MARIADB
from tests.watch.receiver import Receiver

ALIAS = "outbox"
SECRET = "whsec_bGFwc2UtdGVzdC1zZWNyZXQtbGFwc2UtdGVzdC1zZWNyZXQ="
KINDS = [
    "postgresql",
    pytest.param("mariadb", marks=[NEEDS_MARIADB, pytest.mark.long]),
    pytest.param("sqlite", marks=pytest.mark.long),
]


class OutboxRouter:
    """Sends the outbox's table to the chosen database."""

    def db_for_read(self, model: type[models.Model], **_: object) -> str | None:
        """Return the alias, or None for the models of other applications."""
        return ALIAS if model._meta.app_label == "lapse_outbox" else None

    db_for_write = db_for_read


@pytest.fixture(scope="module", params=["postgresql"])
def kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> Iterator[dict[str, Any]]:
    """Make the database of the kind that the parameter names, with the outbox's table; yield what DATABASES says."""
    with django_db_blocker.unblock(), made(request.param, request, tmp_path_factory.mktemp("outbox")) as address:
        connections.settings[ALIAS] = connections.configure_settings({"default": {}, ALIAS: address})[ALIAS]
        try:
            with connections[ALIAS].schema_editor() as editor:
                editor.create_model(Delivery)
            yield address
        finally:
            connections[ALIAS].close()
            del connections[ALIAS]
            del connections.settings[ALIAS]


@pytest.fixture
def database(
    kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch, django_db_blocker: DjangoDbBlocker
) -> Iterator[dict[str, Any]]:
    """Send the outbox's table to the module's database, and leave it empty; yield what DATABASES says."""
    monkeypatch.setattr(router, "routers", [OutboxRouter()])
    with django_db_blocker.unblock():
        yield kind
        Delivery.objects.all().delete()


each_database = pytest.mark.parametrize("kind", KINDS, indirect=True, scope="module")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Open an address that receives messages."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def declared(settings: Settings, receiver: Receiver) -> Settings:
    """Declare the receiver as the one endpoint, named `shop`."""
    settings.LAPSE_OUTBOX = {"webhooks": [{"name": "shop", "url": receiver.url, "secrets": [SECRET]}]}
    return settings
