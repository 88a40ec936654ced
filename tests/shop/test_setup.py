"""Settings from the environment, and the seed."""

import os
import subprocess
import sys
import traceback
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from shop import environment
from shop.catalogue.models import Product


@pytest.mark.parametrize("value", ["0", "-1", "soon", "inf", "nan", "1e99"])
def test_a_wrong_payment_window(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A payment window that is no valid number of seconds is an error that names the variable."""
    monkeypatch.setenv("LAPSE_PAYMENT_WINDOW", value)
    with pytest.raises(ImproperlyConfigured, match="LAPSE_PAYMENT_WINDOW"):
        environment.seconds("LAPSE_PAYMENT_WINDOW", 1800, longest=31_622_400)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:geheim@localhost/shop",
        "nonsense",
        "postgresql//me:geheim@localhost/shop",
        "postgresql://me:geheim@localhost:port/shop",
        "postgresql://me:geheim@one:5432,two:5432/shop",
        "postgresql://me:gehe[im@localhost/shop",
        "postgresql://me:geheim/x@localhost/shop",
        "postgresql://me:geheim%zz@localhost/shop",
        "postgresql://me:geheim@localhost/shop?sslmod=require",
        "sqlite:///shop.sqlite3",
    ],
)
def test_c16_a_database_url_that_is_not_understood(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The error names the variable. No part of the password is shown, also not by a chained error."""
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL") as refused:
        environment.database(pooled=False)
    assert "gehe" not in "".join(traceback.format_exception_only(refused.value))
    assert refused.value.__cause__ is None


def test_a_database_on_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a Unix socket is understood."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres:@/postgres?host=/a/folder")
    found = environment.database(pooled=True)
    assert (found["HOST"], found["NAME"], found["USER"]) == ("/a/folder", "postgres", "postgres")
    assert found["OPTIONS"]["pool"]["max_size"] == 20


@pytest.mark.parametrize("value", ["whsec_", "whsec_c2hvcnQ=", "whsec_§"])
def test_a_weak_webhook_secret(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A webhook secret that is too short or no base64 is an error that names the variable."""
    monkeypatch.setenv("LAPSE_WEBHOOK_SECRET", value)
    with pytest.raises(ImproperlyConfigured, match="LAPSE_WEBHOOK_SECRET"):
        environment.webhook_secret("LAPSE_WEBHOOK_SECRET")


@pytest.mark.parametrize("name", ["LAPSE_PAYMENT_WINDOW", "LAPSE_PAYMENT_WINDOWS"])
def test_m12_a_shop_whose_orders_cannot_be_paid_does_not_start(name: str) -> None:
    """Neither the web server nor a worker can read settings whose window is shorter than the link's margins."""
    with pytest.raises(ImproperlyConfigured, match=f"{name} is 6 s for alipay.* at least 8 s"):
        environment.long_enough(name, timedelta(seconds=6), "alipay", timedelta(seconds=5))
    done = run_bare(
        "-c", "import shop.settings", SHOP_GATEWAY="alipay", **{name: "6" if name[-1] == "W" else "alipay=6"}
    )
    assert f"{name} is 6 s for alipay" in done.stderr


def run_bare(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these settings of the shop."""
    everything = {**os.environ, **settings}
    return subprocess.run([sys.executable, *words], env=everything, capture_output=True, text=True, check=False)


def test_without_a_secret_key_nothing_starts() -> None:
    """No SECRET_KEY and no DEBUG: the command ends with an error that names the variable."""
    bare = {name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "DEBUG")}
    done = subprocess.run(
        [sys.executable, "-m", "shop.manage", "check"],
        env=bare | {"DJANGO_SETTINGS_MODULE": "shop.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "SECRET_KEY is not set" in done.stderr


def test_seeding_again_changes_nothing(transactional_db: None) -> None:
    """The seed adds what is missing and keeps prices and stock; every product has its picture."""
    del transactional_db
    call_command("seed", merchant_password="", stdout=StringIO())
    assert Product.objects.count() == 12
    assert not User.objects.exists()
    Product.objects.filter(sku="GAIWAN").update(price=1, on_hand=3)
    call_command("seed", merchant_email="Boss@example.com", merchant_password="first-secret", stdout=StringIO())
    call_command("seed", merchant_email="boss@example.com", merchant_password="other-secret", stdout=StringIO())
    assert Product.objects.get(sku="GAIWAN").on_hand == 3
    assert Product.objects.count() == 12
    merchant = User.objects.get()
    assert merchant.is_staff
    assert merchant.check_password("other-secret")
    assert all(finders.find(product.picture) for product in Product.objects.all())
