"""A window in which no order can be paid at its gateway is refused before the first order."""

from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.test import override_settings

from lapse.integrations.django import Since
from lapse.integrations.django.checks.setup import check_setup
from tests.django.wirings.kits import BillOrders


class Slow:
    """A gateway at which a buyer needs eight seconds."""

    least_window = timedelta(seconds=8)


class Unclear:
    """A gateway that says so without a unit."""

    least_window = 8


class Short(BillOrders):
    """The checkout gives six seconds."""

    gateways: ClassVar[Any] = {"slow": Slow(), "other": object()}
    windows: ClassVar = {"slow": timedelta(seconds=6), "other": timedelta(seconds=1)}


class Enough(Short):
    """The checkout gives just enough."""

    windows: ClassVar = {"slow": timedelta(seconds=8)}


class Unsaid(Short):
    """The checkout says nothing, so nothing can be known."""

    windows: ClassVar = {}


class Counted(Unsaid):
    """The window is known from the deadline itself."""

    deadline = Since("placed_at", seconds=6)


class NoWindow(Short):
    """A window without its unit."""

    windows: ClassVar[Any] = {"slow": 600}


class NoUnit(Short):
    """A gateway without a unit."""

    gateways: ClassVar[Any] = {"slow": Unclear()}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Short", ["time to pay is 0:00:06, but at gateway 'slow' no order can be paid within less than 0:00:08"]),
        ("Counted", ["time to pay is 0:00:06"]),
        ("NoWindow", ["says 600 for gateway 'slow'"]),
        ("NoUnit", ["`least_window` of gateway 'slow' must be a timedelta"]),
        ("Enough", []),
        ("Unsaid", []),
    ],
)
def test_m12_a_window_too_short_for_its_gateway_is_refused(name: str, says: list[str]) -> None:
    """With what to change. A gateway that says nothing, and a shop that says nothing, are not refused."""
    with override_settings(LAPSE_ORDERS=f"{__name__}.{name}"):
        found = [message for message in check_setup() if message.id == "lapse.E041"]
    assert len(found) == len(says)
    assert [said for said, message in zip(says, found, strict=True) if said not in message.msg] == []
