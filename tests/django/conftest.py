"""The small shop's orders, a timer in memory, and the kinds of databases for other wirings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker, Settings

from lapse.engine.timer import Timer
from lapse.integrations.django import timer, unpaid_orders
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.databases import KINDS, WITH_ROW_LOCKS, chosen


@pytest.fixture
def orders(settings: Settings) -> AdopterOrders:
    """Open the orders that the settings name, new ones for each test."""
    settings.LAPSE_ORDERS = "tests.django.adopter.lapsing.AdopterOrders"
    found = unpaid_orders()
    assert isinstance(found, AdopterOrders)
    return found


@pytest.fixture
def memory(settings: Settings, orders: AdopterOrders) -> Iterator[Timer]:
    """Open the configured timer, in memory, and leave it empty."""
    settings.LAPSE_TIMER = "memory://"
    opened = timer()
    assert opened is not None
    assert orders.name == opened.name
    yield opened
    opened.disarm([str(key) for key in range(1000)])


def _database(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker, settings: Settings
) -> Iterator[str]:
    """Send the models of `wirings` to the kind of database that the parameter names; yield the kind."""
    settings.LAPSE_TIMER = None
    with django_db_blocker.unblock(), chosen(request.param, request, tmp_path):
        yield request.param


database = pytest.fixture(params=KINDS, name="database")(_database)
locking = pytest.fixture(params=WITH_ROW_LOCKS, name="locking")(_database)
