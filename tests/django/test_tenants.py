"""Case A10: two tenants on one timer's server, whose orders have the same primary keys."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from lapse.engine.timer import Timer
from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.timer_setting import timer_named
from lapse.testing.servers import RedisServer
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.models import Order
from tests.django.adopter.placing import NOT_YET, OVERDUE, place, status, stock
from tests.django.adopter.tenants import SCHEMAS, TenantOrders, fail, look_in, made, tenant
from tests.django.adopter.threads import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

TEA, RICE = SCHEMAS


@pytest.fixture
def tenants(settings: Settings) -> Iterator[TenantOrders]:
    """Make the tenants' schemas and choose the orders that have a timer's name for each."""
    settings.LAPSE_ORDERS = "tests.django.adopter.tenants.TenantOrders"
    orders = unpaid_orders()
    assert isinstance(orders, TenantOrders)
    with made(SCHEMAS):
        yield orders


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Start the Redis that the tenants share."""
    with RedisServer() as server:
        yield server


@contextmanager
def worker(schema: str, timer: str) -> Iterator[None]:
    """Run a worker for the tenant, whose sweeps are too rare to help; it must stop in good order."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.django.adopter.tenant_settings",
        "LAPSE_TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "LAPSE_TEST_TIMER": timer,
        "LAPSE_TEST_SCHEMA": schema,
    }
    command = [sys.executable, "-m", "django", "lapse_worker", "--sweep-every", "3600"]
    with subprocess.Popen(
        command,
        env=environment,
        cwd=Path(__file__).parents[2],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(f"lapsing orders-{schema} by redis timer")
            yield
            process.terminate()
            said, _ = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, said
        finally:
            process.kill()


def opened(name: str) -> Timer:
    """Return this process's timer of that name."""
    timer = timer_named(name)
    assert timer is not None
    return timer


def test_a10_each_tenant_lapses_its_own_orders(tenants: TenantOrders, settings: Settings, redis: RedisServer) -> None:
    """Order 1 of each tenant is a deadline of its own on one Redis, and fires at the tenant's own worker."""
    settings.LAPSE_TIMER = redis.url
    with worker(TEA, redis.url), worker(RICE, redis.url):
        with tenant(TEA):
            (of_tea,) = place(due=timedelta(seconds=1))
            tenants.arm(of_tea)
        with tenant(RICE):
            (of_rice,) = place(due=NOT_YET)
            tenants.arm(of_rice)
        assert of_tea.pk == of_rice.pk
        with tenant(TEA):
            wait_until(lambda: status(of_tea) == "cancelled")
            assert stock(of_tea) == 1
        with tenant(RICE):
            assert (status(of_rice), stock(of_rice)) == ("awaiting", 0)
            assert opened("orders-rice").stats().pending == 1
            Order.objects.update(pay_by=of_tea.pay_by)
            of_rice.refresh_from_db()
            tenants.arm(of_rice)
            wait_until(lambda: status(of_rice) == "cancelled")
            assert stock(of_rice) == 1


@pytest.mark.usefixtures("tenants")
def test_a10_with_one_name_two_orders_are_one_deadline() -> None:
    """Why each tenant needs a name: arming the second tenant's order 1 moves the deadline of the first one's."""
    one_name = AdopterOrders()
    for schema, due in ((TEA, NOT_YET), (RICE, 2 * NOT_YET)):
        with tenant(schema):
            (order,) = place(due=due)
            one_name.arm(order)
            stats = opened("orders").stats()
            assert stats.pending == 1
            assert stats.next_due is not None
            assert order.pay_by is not None
            assert abs(stats.next_due - order.pay_by) < timedelta(milliseconds=2)
    one_name.disarm(order)


def test_a10_an_order_is_armed_for_the_tenant_of_its_call(tenants: TenantOrders) -> None:
    """The commit, after which a timer elsewhere is armed, may come when another tenant is current."""
    with transaction.atomic():
        look_in(TEA)
        (order,) = place(due=NOT_YET)
        tenants.arm(order)
        look_in(RICE)
    assert (opened("orders-tea").stats().pending, opened("orders-rice").stats().pending) == (1, 0)
    with tenant(TEA):
        tenants.disarm(order)
    assert opened("orders-tea").stats().pending == 0


def test_a10_a_failure_of_one_tenant_delays_no_other(tenants: TenantOrders) -> None:
    """An order that failed on read is left alone for a while; the order of the same key elsewhere is not."""
    with tenant(TEA):
        place(due=OVERDUE)
        tenants.watch = fail
        assert tenants.lapse_overdue() == {}
    tenants.watch = lambda _: None
    with tenant(TEA):
        assert tenants.lapse_overdue() == {}
    with tenant(RICE):
        (order,) = place(due=OVERDUE)
        assert list(tenants.lapse_overdue()) == [str(order.pk)]
        assert status(order) == "cancelled"
