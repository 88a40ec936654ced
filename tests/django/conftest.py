"""The small shop's orders, and a timer in memory."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from lapse.engine.timer import Timer
from lapse.integrations.django import timer, unpaid_orders
from tests.django.adopter.lapsing import AdopterOrders


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
