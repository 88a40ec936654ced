"""The shop's central journey, in a real browser, with every LAPSE_TIMER that `make run` takes."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import expect

from lapse.config import MECHANISMS
from lapse.testing.servers import PostgresServer, ServerFailed
from shop.running.own_servers import OWN_SERVERS, STORES, store_of
from tests.shop.browsing import (
    STATE_TEXTS,
    Windows,
    browser,
    expect_stock,
    missing,
    opened,
    pay,
    place_order,
    put_into_cart,
    see_it_lapse,
    shown,
    sign_up,
    visit,
)
from tests.shop.running import Run, place
from tests.shop.running import see_it_lapse as see_it_lapse_by_the_api

__all__ = ["browser", "visit"]  # pytest finds the fixtures here
WINDOW = "12"
"""Seconds to pay: the way to the cashier and back takes two of them, and far more on a busy machine."""

MODULES = {module for module, _ in MECHANISMS.values()} - {"lapse.timers.memory"}  # for one process only


def one_of_each() -> dict[tuple[str, str], str]:
    """Return one bare scheme for each mechanism on each store that it can be on; others are spellings of these."""
    found: dict[tuple[str, str], str] = {}
    for scheme, (module, _) in MECHANISMS.items():
        store = store_of(scheme)
        if store is not None and module in MODULES and (store in scheme.split("+") or store not in STORES):
            found.setdefault((module, store), scheme)
    return found


TIMERS = [*(f"{scheme}://" for scheme in one_of_each().values()), "none"]


def test_no_mechanism_is_forgotten() -> None:
    """Every mechanism can be chosen by its scheme alone, on a server of the run, and is tested below."""
    assert {module for module, _ in one_of_each()} == MODULES


@pytest.fixture(params=TIMERS)
def open_shop(request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path: Path) -> Iterator[Run]:
    """Open a shop on each timer; when it is closed, nothing of it is left."""
    timer: str = request.param
    own = OWN_SERVERS.get(store_of(timer.partition("://")[0]) or "")
    if own is not None:
        try:
            own.make(tmp_path / "never started")
        except ServerFailed as error:
            missing(f"{timer}: {error}")
    database = f"every_timer_{TIMERS.index(timer)}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{database}"')
    run: Run | None = None
    for run in opened(tmp_path, timer, WINDOW, DATABASE_URL=postgres.url_of(database)):
        yield run
    assert run is not None
    assert run.processes() == {}


@pytest.mark.long
def test_a_paid_order_stays_and_an_unpaid_one_lapses(visit: Windows) -> None:
    """The page counts down and updates itself, never early; the stock is released; paid orders stay paid."""
    page, shelf = visit(), visit()
    shelf.goto("/")
    shelf.evaluate("window.never_reloaded = true")
    before = shown(shelf)
    first, second = list(before)[:2]
    sign_up(page)
    put_into_cart(page, second)
    paid = place_order(page)
    pay(page)
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "paid")
    expect_stock(shelf, {second: before[second] - 1})

    put_into_cart(page, first, first)
    place_order(page)
    with visit.shop.api() as api:
        order = place(api)
        expect_stock(shelf, {first: before[first] - 3})
        expect(page.locator("[data-countdown]")).to_have_text(re.compile(r"0:0[1-5]"))
        see_it_lapse(page, *STATE_TEXTS["en"][1:])
        see_it_lapse_by_the_api(api, order)
    expect_stock(shelf, {first: before[first], second: before[second] - 1})
    assert shelf.evaluate("window.never_reloaded")

    page.goto(paid)
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "paid")
    page.goto("/orders/")
    expect(page.locator("[data-order][data-status=paid]")).to_have_count(1)
