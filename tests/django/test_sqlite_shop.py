"""The example shop on SQLite, with its timer in the shop's own file."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "django_shop"
TRANSACTIONS = """
import json
from datetime import timedelta
from django.db import connection, transaction
from lapse.integrations.django import timer, unpaid_orders
from myshop.models import Order, Product
from myshop.orders import pay, place

said = {}
tea = Product.objects.create(name="tea", stock=100)
hour = timedelta(hours=1)
try:
    with transaction.atomic():
        place(tea, 1, hour)
        raise LookupError
except LookupError:
    pass
said["rolled back"] = timer().stats().pending
hooks, connection.run_and_clear_commit_hooks = connection.run_and_clear_commit_hooks, lambda: None
order = place(tea, 1, hour)
connection.run_and_clear_commit_hooks = hooks
said["committed"] = timer().stats().pending
pay(order)
said["paid"] = timer().stats().pending
unpaid_orders().arm(place(tea, 1, hour))
said["at once"] = timer().stats().pending
print(json.dumps(said))
"""

CANCELLED = """
import json
from datetime import timedelta
from lapse.integrations.django import timer, unpaid_orders
from myshop.models import Order, Product
from myshop.orders import TooLate, cancel, pay, place

tea = Product.objects.create(name="tea", stock=3)
mine, paid = (place(tea, 1, timedelta(hours=1)) for _ in range(2))
pay(paid)
cancel(mine, "buyer 7")
late = 0
for order in (mine, paid):
    try:
        cancel(order, "clerk 2")
    except TooLate:
        late += 1
tea.refresh_from_db()
mine.refresh_from_db()
paid.refresh_from_db()
print(json.dumps([mine.status, paid.status, late, tea.stock, timer().stats().pending]))
"""

WAITED = """
import json, sqlite3, threading
from datetime import timedelta
from django.db import connections
from lapse.integrations.django import unpaid_orders
from myshop.models import Product
from myshop.orders import place

order = place(Product.objects.create(name="tea", stock=3), 1, timedelta(minutes=-1))
work = [
    lambda: unpaid_orders().cancel([order], by="buyer 7", reason="buyer"),
    lambda: unpaid_orders().lapse([str(order.pk)]),
]
outcomes = []

def run(one):
    try:
        outcomes.append(one()[str(order.pk)].outcome)
    except Exception as error:
        outcomes.append(repr(error))
    finally:
        connections.close_all()

payer = sqlite3.connect(connections["default"].settings_dict["NAME"], isolation_level=None, timeout=30)
payer.execute("BEGIN IMMEDIATE")
payer.execute("UPDATE myshop_order SET status = 'paid' WHERE id = ?", [order.pk])
threads = [threading.Thread(target=run, args=[one]) for one in work]
for thread in threads:
    thread.start()
threads[0].join(1.0)
payer.execute("COMMIT")
payer.close()
for thread in threads:
    thread.join(60)
print(json.dumps(outcomes))
"""

TWO_DATABASES = """
DATABASES["orders"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "orders.sqlite3"}
DATABASE_ROUTERS = ["here.Router"]

class Router:
    def db_for_read(self, model, **hints):
        return "orders"
    db_for_write = db_for_read
"""
IN_THE_SECOND = """
import json
from datetime import timedelta
from django.db import transaction
from django.utils.timezone import now
from lapse.integrations.django import timer, unpaid_orders
from myshop.models import Order, Product

tea = Product.objects.create(name="tea", stock=100)
said = []
for fails in (True, False):
    with transaction.atomic(using="orders"):
        unpaid_orders().arm(Order.objects.create(product=tea, quantity=1, pay_by=now() + timedelta(hours=1)))
        with transaction.atomic():
            pass  # another database's transaction decides nothing
        transaction.set_rollback(fails, using="orders")
    said.append(timer().stats().pending)
said.append(list(unpaid_orders()._arming._same_database.values()))
print(json.dumps(said))
"""


def copy_of_the_example(folder: Path) -> Path:
    """Copy the example into a folder of its own."""
    return Path(shutil.copytree(EXAMPLE, folder / "shop"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Have a copy of the example."""
    return copy_of_the_example(tmp_path)


def manage(shop: Path, *words: str, timer: str, settings: str = "") -> str:
    """Run a command of the shop, with that LAPSE_TIMER and further settings, and return what it printed."""
    (shop / "here.py").write_text(f"from myshop.settings import *\nLAPSE_TIMER = {timer!r}\n{settings}")
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *words],
        cwd=shop,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "here"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cannot be armed" not in done.stderr
    return done.stdout


def tables(file: Path) -> set[str]:
    """Name the tables in a file."""
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.mark.parametrize("made", ["by the migration", "by the first order"])
def test_armed_with_the_order(shop: Path, made: str) -> None:
    """Rolled back it leaves nothing, committed it is never without; the table may come with the first order."""
    file = shop / "shop.sqlite3"
    timer = f"sqlite:///{file}"
    before = timer if made == "by the migration" else "memory://"
    manage(shop, "migrate", "--run-syncdb", "--verbosity", "0", timer=before)
    assert ("lapse_deadline" in tables(file)) is (made == "by the migration")
    said = manage(shop, "shell", "--no-imports", "--command", TRANSACTIONS, timer=timer)
    assert json.loads(said) == {"rolled back": 0, "committed": 1, "paid": 0, "at once": 1}


def test_a_person_cancels(shop: Path) -> None:
    """Before the deadline, once; not what is paid. The stock is back and the timer in the shop's file is disarmed."""
    timer = f"sqlite:///{shop}/shop.sqlite3"
    manage(shop, "migrate", "--run-syncdb", "--verbosity", "0", timer=timer)
    written = manage(shop, "shell", "--no-imports", "--command", CANCELLED, timer=timer)
    assert json.loads(written) == ["cancelled", "paid", 2, 2, 0]


def test_who_meets_a_payment_waits_for_it(shop: Path) -> None:
    """SQLite locks the whole file: a person and a worker wait for the payment and find the order paid."""
    manage(shop, "migrate", "--run-syncdb", "--verbosity", "0", timer="none")
    written = manage(shop, "shell", "--no-imports", "--command", WAITED, timer="none")
    assert json.loads(written) == ["not unpaid", "not unpaid"]


def test_the_migration_on_sqlite(shop: Path) -> None:
    """Made, made again, and taken back; in another file than the shop's nothing is made."""
    file = shop / "shop.sqlite3"
    timer = f"sqlite:///{file}"
    manage(shop, "migrate", "--verbosity", "0", timer=timer)
    assert "lapse_deadline" in tables(file)
    manage(shop, "migrate", "lapse", "zero", "--verbosity", "0", timer=timer)
    assert "lapse_deadline" not in tables(file)
    manage(shop, "migrate", "--verbosity", "0", timer=f"sqlite:///{shop}/other.sqlite3")
    assert "lapse_deadline" not in tables(file)
    assert not (shop / "other.sqlite3").exists()
    manage(shop, "makemigrations", "lapse", "--check", "--dry-run", timer=timer)


@pytest.mark.parametrize("beside", ["orders", "shop"])
def test_of_several_databases_that_of_the_orders_counts(shop: Path, beside: str) -> None:
    """Migrated, it has the table where the timer is; armed within where that is the orders' own, else afterwards."""
    timer = f"sqlite:///{shop / beside}.sqlite3"
    for alias in ("default", "orders"):
        words = ("migrate", "--run-syncdb", "--database", alias, "--verbosity", "0")
        manage(shop, *words, timer=timer, settings=TWO_DATABASES)
    assert {name: "lapse_deadline" in tables(shop / f"{name}.sqlite3") for name in ("orders", "shop")} == {
        "orders": beside == "orders",
        "shop": beside == "shop",
    }
    said = manage(shop, "shell", "--no-imports", "--command", IN_THE_SECOND, timer=timer, settings=TWO_DATABASES)
    assert json.loads(said) == [0, 1, [beside == "orders"]]
