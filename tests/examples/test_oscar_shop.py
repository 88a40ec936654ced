"""The shop of examples/oscar_shop: the tests of its owner pass, with Oscar and PostgreSQL as they are installed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lapse.testing.servers import PostgresServer
from tests.examples.environment import CHECKOUT, programs_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

SHOP = CHECKOUT / "examples" / "oscar_shop"


@pytest.fixture(scope="module")
def programs() -> Path:
    """Return the folder of the programs that run Oscar."""
    return programs_of("oscar")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """Start a PostgreSQL; the tests of the shop keep their database there from file to file."""
    with PostgresServer() as server:
        yield server


NOT_DONE = ("this shop cannot extend", "this shop cannot revive", "declares no `remind`")
"""The reasons of the suite: a `Since` deadline has no column that could be moved, and the shop sends no reminders."""


@pytest.mark.parametrize("file", sorted(path.name for path in (SHOP / "tests").glob("test_*.py")))
def test_the_owners_tests(file: str, programs: Path, postgres: PostgresServer) -> None:
    """Every test of the file passes. Skipped is only what Oscar's orders cannot do, with the reason."""
    done = subprocess.run(
        [programs / "python", "-m", "pytest", "--reuse-db", "-rs", f"tests/{file}"],
        cwd=SHOP,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        | {"DATABASE_URL": postgres.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=1000,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert all(any(reason in line for reason in NOT_DONE) for line in skipped), done.stdout


def test_oscar_is_not_forked() -> None:
    """The applications are those that Oscar lists, and the shop has no copy of one."""
    assert "*oscar.INSTALLED_APPS" in (SHOP / "oscarshop" / "settings.py").read_text(encoding="utf-8")
    assert [path.parent.name for path in SHOP.rglob("apps.py")] == ["oscarshop"]
