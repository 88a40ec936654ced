"""The shop of cups in a database of its own, with its bank."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from lapse.orders import reconciling
from lapse.testing.two_at_once import PATIENCE
from tests.django.databases import chosen
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder
from tests.django.wirings.money import Bank, CupOrders


@pytest.fixture(scope="module")
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """Make the tables of cups in a new database, on PostgreSQL or where the parameter says; yield the kind."""
    kind: str = getattr(request, "param", "postgresql")
    with (
        override_settings(LAPSE_TIMER=None),
        django_db_blocker.unblock(),
        chosen(kind, request, tmp_path_factory.mktemp("races")),
    ):
        yield kind


@pytest.fixture
def bank(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    """Open a new bank for the shop, and leave its tables empty."""
    assert database
    opened = Bank()
    monkeypatch.setattr(reconciling, "PATIENCE", timedelta(seconds=PATIENCE))  # a test may let a call stand longer
    monkeypatch.setattr(CupOrders, "gateways", {"bank": opened})
    yield opened
    for model in (CupAttempt, CupOrder, Cup):
        model.objects.all().delete()
