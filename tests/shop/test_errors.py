"""The error pages, and the settings of production."""

import os
import subprocess
import sys

import pytest
from django.db import connections
from django.http import HttpRequest
from django.test import Client, RequestFactory

from lapse.testing.ports import free_port
from shop.pages import errors
from tests.alipay_keys import ALIPAY, APP

AWAY = {"DATABASE_URL": f"postgresql://postgres@127.0.0.1:{free_port()}/shop"}
PRODUCTION = {
    "PATH": os.environ["PATH"],
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "HTTPS": "1",
    "ALLOWED_HOSTS": "shop.example",
    "LAPSE_WEBHOOK_SECRET": "whsec_" + "c2hvcC10ZXN0LXNlY3JldC1zaG9wLXRlc3Qtc2VjcmV0",
    "PUBLIC_URL": "https://shop.example",
    "ALIPAY_APP_ID": "2021000000000001",
    "ALIPAY_SELLER_ID": "2088000000000001",
    "ALIPAY_PRIVATE_KEY": APP.private,
    "ALIPAY_PUBLIC_KEY": ALIPAY.public,
}


def test_a_page_that_does_not_exist(client: Client) -> None:
    """An unknown address has a page of the shop, with a 404, and needs no database."""
    answer = client.get("/nothing/")
    assert answer.status_code == 404
    assert "Page not found" in answer.content.decode()
    assert client.get("/nothing/", headers={"Accept-Language": "zh-CN"}).status_code == 404


def test_a_failure_has_a_page(client: Client) -> None:
    """If the database does not answer, the error page is the shop's own and shows no detail of the error."""
    client.raise_request_exception = False
    before = connections["default"].settings_dict["HOST"]
    connections["default"].close()
    connections["default"].settings_dict["HOST"] = "/nowhere"
    client.cookies["sessionid"] = "x" * 32
    try:
        answer = client.get("/orders/")
        missing = client.get("/nothing/")
    finally:
        connections["default"].settings_dict["HOST"] = before
    assert answer.status_code == 500
    assert "Something went wrong" in answer.content.decode()
    assert "nowhere" not in answer.content.decode()
    assert missing.status_code == 404


def test_every_error_page_is_the_shops(rf: RequestFactory) -> None:
    """The 403 page and the page of a refused form look like the shop."""
    request: HttpRequest = rf.get("/")
    for answer, words in (
        (errors.forbidden(request, Exception()), "have access to this page. Sign in with another account."),
        (errors.csrf_failure(request, "no cookie"), "send the form again"),
    ):
        assert answer.status_code == 403
        assert words in answer.content.decode()
        assert "shop/shop.css" in answer.content.decode()


def check(**settings: str) -> subprocess.CompletedProcess[str]:
    """Run Django's check of a deployment with the shop's own settings."""
    return subprocess.run(
        [sys.executable, "-m", "shop.manage", "check", "--deploy", "--fail-level", "WARNING"],
        env=PRODUCTION | AWAY | settings,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_settings_of_production_have_no_warning() -> None:
    """`manage.py check --deploy` has no warning."""
    done = check()
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        pytest.param("ALIPAY_APP_ID", "", "payments.W001", marks=pytest.mark.long),
        pytest.param("ALIPAY_PRIVATE_KEY", "no key", "payments.E001", marks=pytest.mark.long),
        ("SHOP_GATEWAY", "development", "SHOP_GATEWAY"),
        pytest.param("ALIPAY_PRIVATE_KEY_FILE", "/nowhere", "ALIPAY_PRIVATE_KEY_FILE", marks=pytest.mark.long),
        pytest.param("SHOP_GATEWAY", "cash", "SHOP_GATEWAY", marks=pytest.mark.long),
    ],
)
def test_what_keeps_a_shop_from_taking_money(name: str, value: str, found: str) -> None:
    """Missing and wrong settings of Alipay, and the development gateway, are named by the check."""
    done = check(**{name: value})
    assert done.returncode != 0
    assert found in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMITS", "off"),
        pytest.param("RATE_LIMITS", "perhaps", marks=pytest.mark.long),
        pytest.param("SHOP_GATEWAY", "development", marks=pytest.mark.long),
        pytest.param("CACHE_URL", "memcached://x", marks=pytest.mark.long),
        pytest.param("TRUSTED_PROXIES", "-1", marks=pytest.mark.long),
    ],
)
def test_wrong_settings_are_named(name: str, value: str) -> None:
    """A setting that is not possible, such as no limits in a public shop, is an error that names the setting."""
    done = check(**{name: value})
    assert done.returncode != 0
    assert name in done.stderr
