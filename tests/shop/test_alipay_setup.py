"""Setting the shop up for Alipay: both modes, and what the check says of a mistake before the first order."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from lapse.orders.port import Outcome
from lapse.testing.alipay import AlipaySimulator, new_key_pair
from lapse.testing.alipay.gateway import APP_ID, SELLER_ID
from shop.catalogue.models import Product
from shop.payments import alipay
from tests.alipay_keys import ALIPAY, APP, authority
from tests.gateways.listening import eventually
from tests.shop.alipay_rehearsal import PayingShop, lapse, let_time_pass, scanned, status_of
from tests.shop.alipay_shop import paying as paying  # noqa: PLC0414  # pytest finds a fixture by its name here
from tests.shop.alipay_shop import settings_for
from tests.shop.rehearsal import assert_no_drift, order_of, stock_of

HALF_AN_HOUR = 1800.0


@pytest.fixture(params=["utf-8", "gbk"])
def certified(request: pytest.FixtureRequest, shop: Settings, live_server: LiveServer) -> Iterator[PayingShop]:
    """Connect the shop to a simulator with certificates, which writes in either charset."""
    with AlipaySimulator(APP.public, private_key=ALIPAY.private, authority=authority()) as simulator:
        simulator.faults(charset=request.param)
        shop.SHOP_GATEWAY = "alipay"
        shop.PAYMENT_ORIGINS = [simulator.url]
        shop.ALIPAY = {**settings_for(simulator, live_server.url), "alipay_public_key": "", **simulator.certificates}
        yield PayingShop(simulator, ALIPAY)
        gateway = alipay.open_alipay()
        assert gateway is not None
        gateway.__exit__()
        alipay._open.cache_clear()


def answers_to(simulator: AlipaySimulator, number: str) -> list[list[str]]:
    """Return the shop's answers to each notify of a trade."""
    trade = simulator.trade(number)
    return [notify["answers"] for notify in trade["notifies"]] if trade else []


def test_d4_the_shop_is_paid_with_certificates(certified: PayingShop, buyer: User, cup: Product) -> None:
    """A merchant whose app has certificates could not set the shop up. Now notify, return and lapsing all work."""
    assert alipay.check_alipay() == []
    order = order_of(buyer, cup)
    at_the_cashier, number = scanned(order)
    back = at_the_cashier.pay()
    assert eventually(lambda: status_of(order) == "paid")
    # The payment is committed before Alipay has the shop's answer.
    assert eventually(lambda: answers_to(certified.alipay, number) == [["success"]])
    assert back
    assert Client().get(back[back.index("/payment") :]).headers["Location"] == f"/orders/{order.public_id}/"
    certified.alipay.rotate()
    certified.alipay.faults(notify="drop")
    lost = order_of(buyer, cup)
    at_the_cashier, _ = scanned(lost)
    assert at_the_cashier.pay()
    let_time_pass(lost, HALF_AN_HOUR)
    assert lapse(lost) == Outcome.PAID
    assert stock_of(cup) == (8, 0)
    assert_no_drift()


def found(shop: Settings, **changes: str) -> CheckMessage:
    """Return the one message of the check for these settings."""
    shop.SHOP_GATEWAY = "alipay"
    shop.ALIPAY = {
        "app_id": "2021000000000001",
        "seller_id": "2088000000000001",
        "private_key": APP.private,
        "alipay_public_key": ALIPAY.public,
        "gateway_url": "https://openapi.alipay.com/gateway.do",
        "notify_url": "https://shop.example/payment/alipay/notify/",
        "return_url": "https://shop.example/payment/alipay/return/",
        **changes,
    }
    (message,) = alipay.check_alipay()
    return message


def test_d1_the_check_says_it_before_the_first_order(shop: Settings) -> None:
    """The app's own key given as Alipay's: money was taken, no order was paid. Now `check` refuses."""
    message = found(shop, alipay_public_key=APP.public)
    assert message.id == "payments.E001"
    assert "alipay_public_key is the public half of your own private_key" in message.msg
    assert "alipay_public_key is ALIPAY_PUBLIC_KEY_FILE" in (message.hint or "")
    assert "private_key is ALIPAY_PRIVATE_KEY_FILE" in (message.hint or "")
    assert "2088" in found(shop, app_id="2088000000000001").msg
    local = found(shop, notify_url="http://127.0.0.1:8000/payment/alipay/notify/")
    assert (local.id, local.hint) == ("payments.W003", "notify_url is PUBLIC_URL. See shop/settings.py.")


def test_d4_the_check_knows_both_modes(shop: Settings) -> None:
    """Missing certificates are named by their variables, an expiry soon is a warning, both modes are refused."""
    issue = authority().issue
    certificates = {
        "alipay_public_key": "",
        "app_id": APP_ID,
        "seller_id": SELLER_ID,
        "gateway_url": "http://127.0.0.1:8100/gateway.do",
        "app_certificate": issue(APP.public, f"{SELLER_ID}-{APP_ID}"),
        "alipay_certificate": issue(
            ALIPAY.public, f"支付宝-{SELLER_ID}", begins=datetime.now(UTC) - timedelta(days=340)
        ),
        "root_certificates": authority().root_certificates,
    }
    soon = found(shop, **certificates)
    assert soon.id == "payments.W003"
    assert "alipay_certificate expires on " in soon.msg
    assert "ALIPAY_CERTIFICATE_FILE" in (soon.hint or "")
    missing = found(shop, **certificates | {"root_certificates": ""})
    assert (missing.id, missing.hint) == ("payments.W001", "Set ALIPAY_ROOT_CERTIFICATES_FILE.")
    both = found(shop, **certificates | {"alipay_public_key": ALIPAY.public})
    assert "two modes" in both.msg


def test_d3_files_of_every_kind_are_read(tmp_path: Path) -> None:
    """A key file as Windows wrote it, and one that is not there, which names its variable."""
    file = tmp_path / "app.pem"
    file.write_bytes(APP.private.encode("utf-16"))
    read = alipay.read_environment({"ALIPAY_PRIVATE_KEY_FILE": str(file), "ALIPAY_CERTIFICATE": " x "})
    assert read["private_key"] == APP.private.strip()
    assert read["alipay_certificate"] == "x"
    with pytest.raises(
        ImproperlyConfigured, match=r"ALIPAY_ROOT_CERTIFICATES_FILE: the file .* cannot be read: No such"
    ):
        alipay.read_environment({"ALIPAY_ROOT_CERTIFICATES_FILE": "/nowhere/root.crt"})


def test_d3_a_key_that_cannot_be_read_is_not_shown(shop: Settings) -> None:
    """A path where the key belongs: the check says so, and shows neither the path nor a key."""
    message = found(shop, private_key="/run/secrets/app.pem")
    assert "private_key must be an RSA private key, but is the path of a file" in message.msg
    assert "/run/secrets" not in f"{message.msg}{message.hint}"
    cut = new_key_pair().private[:600]
    assert "cut off" in found(shop, private_key=cut).msg


def test_d1_a_key_of_another_app_is_found_by_asking(paying: PayingShop, shop: Settings) -> None:
    """Two keys that could be a pair and are not: one call to Alipay shows it, and says which setting is wrong."""
    output = StringIO()
    call_command("check_alipay", stdout=output)
    assert "believe each other's signatures" in output.getvalue()
    right = shop.ALIPAY
    stranger = new_key_pair()
    for changes, said in (
        (
            {"alipay_public_key": stranger.public},
            "is alipay_public_key, or alipay_certificate, Alipay's own for this app",
        ),
        ({"private_key": stranger.private}, "has another key or certificate than that of private_key"),
        ({"app_id": "9021000100000002"}, "Alipay does not know app_id at gateway_url"),
        ({"private_key": "x"}, "private_key must be an RSA private key"),
        ({"private_key": ""}, "settings are not complete"),
    ):
        shop.ALIPAY = {**right, **changes}
        with pytest.raises(CommandError, match=said) as refused:
            call_command("check_alipay", stdout=output)
        assert "\n" not in str(refused.value)
        if "must be" not in said and (opened := alipay.open_alipay()):
            opened.__exit__()
    shop.ALIPAY = right
    paying.alipay.faults(system_error=["alipay.trade.query"])
    with pytest.raises(CommandError, match="Alipay is unavailable"):
        call_command("check_alipay", stdout=output)
