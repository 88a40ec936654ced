"""The suite of `lapse.testing.orders` passes on each safe wiring, and fails on each unsafe one."""

import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from pytest_django import DjangoDbBlocker, Settings

from lapse.testing.orders import OrdersConformance
from tests.django.databases import ALIAS, chosen
from tests.django.wirings.kits import Kit, failures
from tests.django.wirings.safe import SAFE, Absence, Companion, Gateway, Reviving, StateMachine
from tests.django.wirings.unsafe import EVERYWHERE, LAPSES, NOT_DUE, WHERE_ROWS_ARE_LOCKED, LocalTime
from tests.timers.databases import NEEDS_MARIADB

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "examples" / "django_shop"
PAGE = CHECKOUT / "docs" / "how-to" / "test-your-own-shop.md"

IN_SHORT = [("postgresql", kit) for kit in (Kit, Companion, StateMachine, Absence, Gateway, Reviving)] + [
    ("sqlite", Kit)
]
"""The short tests try one of each kind."""

ON_MARIADB = pytest.param("mariadb", marks=[NEEDS_MARIADB, pytest.mark.long])

SAFE_ON = [
    pytest.param(
        kind,
        kit,
        id=f"{kind}-{kit.__name__}",
        marks=[
            *([NEEDS_MARIADB] if kind == "mariadb" else []),
            *([] if (kind, kit) in IN_SHORT else [pytest.mark.long]),
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


@pytest.mark.parametrize(
    "database", ["postgresql", ON_MARIADB, pytest.param("sqlite", marks=pytest.mark.long)], indirect=True
)
@pytest.mark.usefixtures("database")
def test_it_fails_on_an_unsafe_wiring() -> None:
    """What a lapse after the other shows is shown on each database."""
    for kit, name, says in EVERYWHERE:
        found = failures(kit, name)
        assert says in str(found.get(name)), (kit, name, found)


@pytest.mark.parametrize("locking", ["postgresql", ON_MARIADB], indirect=True)
@pytest.mark.usefixtures("locking")
def test_it_fails_on_a_wiring_that_is_unsafe_for_a_moment() -> None:
    """What only two at the same moment show is shown where the database locks rows, each time."""
    for kit, name, says in WHERE_ROWS_ARE_LOCKED:
        found = failures(kit, name) or failures(patient(kit), name)
        assert says in str(found.get(name)), (kit, name, found)


@NEEDS_MARIADB
def test_a2_it_fails_on_a_checkout_that_stores_local_time(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker, settings: Settings
) -> None:
    """The order is due at once, hours before the shop means it to be."""
    settings.LAPSE_TIMER = None
    session = {"charset": "utf8mb4", "init_command": "SET time_zone = '-05:00'"}
    with django_db_blocker.unblock(), chosen("mariadb", request, tmp_path, OPTIONS=session):
        found = failures(LocalTime, NOT_DUE)
    assert "stored in UTC" in str(found[NOT_DUE])


def patient(kit: type[Kit]) -> type[Kit]:
    """Return the kit with more time for a thread to come to a lock: the machine may be busy."""
    return type(kit.__name__, (kit,), {"blocked_after": timedelta(seconds=5)})


@pytest.mark.usefixtures("database")
def test_orders_that_only_one_connection_sees_are_refused() -> None:
    """A test case that never commits would make each race pass, so that the suite says what to use."""
    with transaction.atomic(using=ALIAS):
        found = failures(Kit, LAPSES)
        transaction.set_rollback(True, using=ALIAS)
    assert "Use a TransactionTestCase" in str(found[LAPSES])


def test_it_passes_on_the_example_as_an_adopter_runs_it(tmp_path: Path) -> None:
    """`manage.py test` of the example needs no test runner but Django's, and no server."""
    shutil.copytree(EXAMPLE, tmp_path / "shop")
    command = [sys.executable, "manage.py", "test"]
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "LAPSE_"))}
    run = subprocess.run(command, cwd=tmp_path / "shop", env=mine, capture_output=True, text=True, check=False)
    assert re.search(r"Ran \d\d tests .*\n\nOK", run.stderr), run.stderr


def test_the_page_shows_the_tests_of_the_example() -> None:
    """What the page shows is, to the letter, what an adopter writes, and it is short."""
    source = (EXAMPLE / "myshop" / "tests.py").read_text(encoding="utf-8")
    assert f"```python\n{source}```" in PAGE.read_text(encoding="utf-8")
    assert len([line for line in source.splitlines() if line.strip()]) <= 30


def test_it_imports_no_framework() -> None:
    """Another framework's shop can use the suite as well."""
    program = "import sys, lapse.testing.orders; print({'django', 'pytest', 'sqlalchemy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stdout == "set()\n", run.stderr


def test_what_the_subclass_must_write_is_said() -> None:
    """A method that is missing says what to write."""
    for name in ("orders", "place", "stock", "transaction", "close_connections"):
        with pytest.raises(NotImplementedError, match=name):
            getattr(OrdersConformance[Any](), name)()
