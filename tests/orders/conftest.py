"""The shop on a second framework."""

from collections.abc import Iterator

import pytest

from tests.orders.second_framework import Market


@pytest.fixture
def market() -> Iterator[Market]:
    """Open a market and close its connection."""
    opened = Market()
    yield opened
    opened.connection.close()
