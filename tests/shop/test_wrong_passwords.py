"""A wrong password or address in the settings is one line and an exit code, in each command and for each server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lapse.testing.servers import PostgresServer, RedisServer
from tests.shop.live_shop import LiveShop

COMMANDS = ["lapse_worker", *(pytest.param(name, marks=pytest.mark.long) for name in ("lapse_sweep", "lapse_arm"))]
SHOP = {"DJANGO_SETTINGS_MODULE": "shop.settings", "DEBUG": "1", "SHOP_GATEWAY": "development"}
CHECKOUT = Path(__file__).parents[2]


def run(command: str, *, database: str, timer: str) -> str:
    """Run a command of the shop, which must fail, and return its standard error. A password is nowhere in it."""
    environment = {**SHOP, "DATABASE_URL": database, "LAPSE_TIMER": timer}
    done = subprocess.run(
        [sys.executable, "-m", "shop.manage", command],
        env={**os.environ, **environment},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "geheim" not in done.stdout + done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def database(postgres: PostgresServer, seeded: str) -> Iterator[str]:
    """Let PostgreSQL ask the user `shop` for a password; yield the address of a shop's database for this user."""
    shop = LiveShop(postgres, timer="none", copied=seeded)
    rules = postgres.data / "pg_hba.conf"
    before = rules.read_text()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE shop LOGIN SUPERUSER PASSWORD 'geheim'")
        rules.write_text("local all shop scram-sha-256\n" + before)
        connection.execute("SELECT pg_reload_conf()")
        yield shop.url.replace("postgres@", "shop:geheim@")
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("DROP ROLE shop")


@pytest.mark.parametrize("command", COMMANDS)
def test_c16_a_wrong_password_of_the_database_is_one_line(database: str, command: str, tmp_path: Path) -> None:
    """It was 88 lines of traceback."""
    said = run(command, database=database.replace("geheim", "geheimer"), timer=f"sqlite:///{tmp_path}/timer.db")
    assert said.count("\n") == 1
    assert said.startswith("CommandError: the database is unavailable: ")
    assert "password authentication failed" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_c16_a_database_url_that_cannot_be_read_is_one_line(command: str) -> None:
    """It was 116 lines of traceback, because Django's command line shows every error of the settings so."""
    said = run(command, database="postgresql://shop:geheim/more@localhost/shop", timer="none")
    assert said.count("\n") == 1
    assert said.startswith("shop: DATABASE_URL: the postgresql:// URL has an '@' after its address: write these")


@pytest.mark.parametrize("command", ["lapse_worker", pytest.param("lapse_arm", marks=pytest.mark.long)])
def test_c16_a_wrong_password_of_the_timer_is_one_line(database: str, command: str) -> None:
    """Of a Redis and of a PostgreSQL; the worker has said before how it works."""
    with RedisServer(password="geheim") as redis:
        for timer in (redis.url.replace("geheim", "geheimer"), database.replace("geheim", "geheimer")):
            said = run(command, database=database, timer=timer).splitlines()
            errors = [line for line in said if line.startswith("CommandError: ")]
            assert len(errors) == 1
            assert "password" in errors[0]
            assert "Traceback" not in "".join(said)


@pytest.mark.parametrize("command", COMMANDS)
def test_c16_a_timer_url_that_is_not_understood_is_refused_by_the_check(database: str, command: str) -> None:
    """Django's own checks report it before the command runs."""
    said = run(command, database=database, timer="redis+sentinel://:geheim@localhost/mymaster?db=5")
    assert "(lapse.E006) LAPSE_TIMER: the redis+sentinel:// URL has no option 'db': write the number" in said
    assert "Traceback" not in said
