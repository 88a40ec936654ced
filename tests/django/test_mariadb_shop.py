"""The example shop on MariaDB, with its timer in the shop's own database."""

import json
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from lapse.testing.servers import MariaDbServer
from tests.django.test_sqlite_shop import TRANSACTIONS, copy_of_the_example, manage
from tests.timers.databases import NEEDS_MARIADB

pytestmark = NEEDS_MARIADB
DATABASE = "example_shop"
HERE = """
import warnings, pymysql
warnings.filterwarnings("ignore", "MariaDB does not support conditional")
pymysql.install_as_MySQLdb()
SILENCED_SYSTEM_CHECKS = ["models.W037"]  # the index has no condition there
DATABASES = {{"default": {{"ENGINE": "django.db.backends.mysql", "NAME": "{database}", "USER": "root",
    "HOST": "127.0.0.1", "PORT": "{port}", "OPTIONS": {{"charset": "utf8mb4"}}}}}}
"""
DEADLOCK = """
import json, threading, time
from datetime import timedelta
from django.db import OperationalError, connection, transaction
from lapse.integrations.django import timer, unpaid_orders
from myshop.models import Order, Product
from myshop.orders import place

tea = Product.objects.create(name="oolong", stock=100)
one, other = (place(tea, 1, timedelta(hours=1)) for _ in range(2))
before = Order.objects.count()
locked, wanted = threading.Event(), threading.Event()

def rival():
    with transaction.atomic():
        for number in range(2000):  # the larger transaction of two is not the one that is given up
            Product.objects.create(name=f"rival {number}", stock=1)
        unpaid_orders().arm(other)
        locked.set()
        wanted.wait(30)
        try:
            list(Product.objects.select_for_update().filter(pk=tea.pk))
        finally:
            transaction.set_rollback(True)
    connection.close()

thread = threading.Thread(target=rival)
thread.start()
locked.wait(60)
said = "placed"
try:
    with transaction.atomic():
        list(Product.objects.select_for_update().filter(pk=tea.pk))
        Order.objects.create(product=tea, quantity=1, pay_by=one.pay_by)
        wanted.set()
        with connection.cursor() as cursor:  # until the rival waits for the tea, so that this one closes the circle
            while not cursor.execute("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"):
                time.sleep(0.2)
        unpaid_orders().arm(other)
except OperationalError as error:
    said = str(error).split(" while")[0]
thread.join()
connection.close()
print(json.dumps([said, Order.objects.count() - before]))
"""


@pytest.fixture
def settings_here(mariadb: MariaDbServer) -> Iterator[str]:
    """Make a database for the shop, yield the settings that name it, and drop it afterwards."""
    with pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root") as connection:
        connection.cursor().execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        yield HERE.format(port=mariadb.port, database=DATABASE)
        connection.cursor().execute(f"DROP DATABASE {DATABASE}")


def tables(mariadb: MariaDbServer) -> set[str]:
    """Name the tables of the shop."""
    with pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root", database=DATABASE) as connection:
        cursor = connection.cursor()
        cursor.execute("SHOW TABLES")
        return {name for (name,) in cursor.fetchall()}


@pytest.mark.parametrize("made", ["by the migration", "by the first order"])
def test_armed_with_the_order(mariadb: MariaDbServer, settings_here: str, tmp_path: Path, made: str) -> None:
    """Rolled back it leaves nothing, committed it is never without; no transaction is committed by the first use."""
    shop = copy_of_the_example(tmp_path)
    before = mariadb.url_of(DATABASE) if made == "by the migration" else "memory://"
    manage(shop, "migrate", "--run-syncdb", "--verbosity", "0", timer=before, settings=settings_here)
    assert ("lapse_deadline" in tables(mariadb)) is (made == "by the migration")
    words = ("shell", "--no-imports", "--command", TRANSACTIONS)
    said = manage(shop, *words, timer=mariadb.url_of(DATABASE), settings=settings_here)
    assert json.loads(said) == {"rolled back": 0, "committed": 1, "paid": 0, "at once": 1}
    if made == "by the migration":
        manage(
            shop, "migrate", "lapse", "zero", "--verbosity", "0", timer=mariadb.url_of(DATABASE), settings=settings_here
        )
        assert "lapse_deadline" not in tables(mariadb)


def test_a_deadlock_does_not_seem_a_sale(mariadb: MariaDbServer, settings_here: str, tmp_path: Path) -> None:
    """Where the server takes back the whole transaction while it is armed, the order is not said to be placed."""
    shop = copy_of_the_example(tmp_path)
    manage(shop, "migrate", "--run-syncdb", "--verbosity", "0", timer=mariadb.url_of(DATABASE), settings=settings_here)
    words = ("shell", "--no-imports", "--command", DEADLOCK)
    said = manage(shop, *words, timer=mariadb.url_of(DATABASE), settings=settings_here)
    assert json.loads(said) == ["the transaction ended", 0]
