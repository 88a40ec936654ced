"""The suite of `lapse.testing.orders` passes on each safe wiring, and fails on each unsafe one."""

import pytest

from tests.django.wirings.kits import Kit, failures


@pytest.mark.usefixtures("database")
def test_it_passes_on_safe_wirings() -> None:
    """A first look."""
    assert failures(Kit) == {}
