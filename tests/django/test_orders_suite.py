"""The suite of `lapse.testing.orders` passes on each safe wiring, and fails on each unsafe one."""

import pytest

from tests.django.wirings.kits import Kit, failures
from tests.django.wirings.safe import SAFE, Companion
from tests.django.wirings.unsafe import EVERYWHERE, WHERE_ROWS_ARE_LOCKED
from tests.timers.databases import NEEDS_MARIADB

IN_SHORT = [("mariadb", Companion), ("sqlite", Kit)]
"""Each wiring is tried on PostgreSQL by the short tests. The other databases get one of each kind."""

SAFE_ON = [
    pytest.param(
        kind,
        kit,
        id=f"{kind}-{kit.__name__}",
        marks=[
            *([NEEDS_MARIADB] if kind == "mariadb" else []),
            *([] if kind == "postgresql" or (kind, kit) in IN_SHORT else [pytest.mark.long]),
        ],
    )
    for kind in ("postgresql", "mariadb", "sqlite")
    for kit in SAFE
]


@pytest.mark.parametrize(("database", "kit"), SAFE_ON, indirect=["database"])
@pytest.mark.usefixtures("database")
def test_it_passes_on_a_safe_wiring(kit: type[Kit]) -> None:
    """No test of the suite fails."""
    assert failures(kit) == {}


@pytest.mark.usefixtures("database")
def test_it_fails_on_an_unsafe_wiring() -> None:
    """What a lapse after the other shows is shown on each database."""
    for kit, name, says in EVERYWHERE:
        found = failures(kit, name)
        assert says in str(found.get(name)), (kit, name, found)


@pytest.mark.usefixtures("locking")
def test_it_fails_on_a_wiring_that_is_unsafe_for_a_moment() -> None:
    """What only two at the same moment show is shown where the database locks rows, each time."""
    for kit, name, says in WHERE_ROWS_ARE_LOCKED:
        found = failures(kit, name)
        assert says in str(found.get(name)), (kit, name, found)
