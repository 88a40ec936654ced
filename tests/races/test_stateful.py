"""Buyers, people, gateways and crashes may do anything in any sequence: each order ends once, no money is lost."""

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connections
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from pytest_django import Settings

from lapse.integrations.django import settings as package_settings
from lapse.orders import reconciling
from lapse.orders.retries import Retries
from lapse.testing.alipay import AlipaySimulator
from shop.payments import alipay
from tests.alipay_keys import ALIPAY, APP
from tests.django.databases import ALIAS
from tests.django.wirings.cups import CupOrder
from tests.races.alipay_machine import alipay_machine
from tests.races.cups_world import Cups
from tests.races.money_machine import money_machine
from tests.races.processes import statements_are_steps
from tests.races.sequences import LOSING, play
from tests.races.shop_world import ShopWorld
from tests.shop.alipay_shop import settings_for

assert CupOrder is not None  # the tables of its module are made


SHORT = settings(max_examples=10, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(SHORT, max_examples=40, stateful_step_count=25)
PROFILES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]


@pytest.fixture(autouse=True)
def patched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be quiet about the crashes, and undo afterwards what the machine sets in modules."""
    monkeypatch.setattr(reconciling, "PATIENCE", reconciling.PATIENCE)
    monkeypatch.setattr(package_settings, "_orders", None)
    monkeypatch.setattr(Retries, "add", lambda *_: None)  # each process here may be dead by then
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def simulator(transactional_db: None, settings: Settings) -> Iterator[AlipaySimulator]:
    """Connect the shop to a simulator that sends no notifies: the machine delivers them itself."""
    del transactional_db
    with AlipaySimulator(APP.public, private_key=ALIPAY.private) as started:
        started.faults(notify="drop")
        settings.LAPSE_ORDERS = "shop.lapsing.ShopOrders"
        settings.LAPSE_TIMER = "memory://"
        settings.LAPSE_PAYMENT_WINDOW = timedelta(minutes=30)
        settings.LAPSE_OPEN_ORDERS = 1000
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
        settings.SHOP_GATEWAY = "alipay"
        settings.PAYMENT_ORIGINS = [started.url]
        settings.ALIPAY = settings_for(started, "http://shop.invalid")
        yield started
        gateway = alipay.open_alipay()
        if gateway is not None:
            gateway.__exit__()
        alipay._open.cache_clear()


@pytest.mark.parametrize("profile", PROFILES)
def test_the_door_for_money_loses_none(database: str, profile: settings) -> None:
    """The package alone: its door for money, with a bank in memory."""
    del database
    with statements_are_steps(connections[ALIAS]):
        run_state_machine_as_test(money_machine(Cups), settings=profile)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_shop_loses_no_money(
    simulator: AlipaySimulator, profile: settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference shop: its audit finds nothing after any step, and at the end Alipay's trades agree with it."""
    machine = alipay_machine(lambda policy: ShopWorld(policy, simulator, ALIPAY, monkeypatch))
    with statements_are_steps(connections["default"]):
        run_state_machine_as_test(machine, settings=profile)


@pytest.mark.parametrize("protection", LOSING)
def test_the_machine_names_what_is_lost_without(
    database: str, protection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sequence loses no money. Without one protection, the machine's own assertion says what the sequence lost."""
    del database
    losing = LOSING[protection]
    with statements_are_steps(connections[ALIAS]):
        steps = play(losing.steps)
        losing.remove(monkeypatch)
        with pytest.raises(AssertionError, match=losing.says):
            play(losing.steps, dies=steps - 1)
