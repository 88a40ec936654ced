"""Arming in a transaction of SQLAlchemy, by its connection or its session."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Engine, MetaData, Table, Text, create_engine, select
from sqlalchemy.orm import Session

from lapse import Deadline, open_timer
from lapse.testing.conformance import LONG, ago, ahead, keys_of
from lapse.timers.sql.timer import SqlTimer
from tests.timers.databases import DATABASES, KINDS

ORDERS = Table("sqlalchemy_orders", MetaData(), Column("id", Text))
DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "sqlite": "sqlite"}


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, sql_url: Callable[[str], str]) -> str:
    """Return the URL of each database."""
    return sql_url(request.param)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Make the shop's engine on the same database, with a table of orders."""
    scheme, rest = url.split(":", 1)
    engine = create_engine(f"{DRIVERS[scheme]}:{rest}")
    ORDERS.create(engine)
    yield engine
    ORDERS.drop(engine)
    engine.dispose()


@pytest.fixture
def timer(url: str, timer_name: str) -> Iterator[SqlTimer]:
    """Open a timer, which has not connected yet."""
    with open_timer(url, name=timer_name) as timer:
        assert isinstance(timer, SqlTimer)
        yield timer


@pytest.fixture(params=["a connection", "a session", "a session's connection"])
def begin(request: pytest.FixtureRequest, engine: Engine) -> Callable[[], Connection | Session]:
    """Return the connection or session on which a shop runs its statements."""
    return engine.connect if request.param == "a connection" else (lambda: Session(engine))


@pytest.fixture
def where(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Return the object that the timer is given."""
    chosen = request.node.callspec.params["begin"]
    return (lambda shop: shop.connection()) if chosen == "a session's connection" else (lambda shop: shop)


Begin = Callable[[], Connection | Session]
Where = Callable[[Any], Any]


def insert(shop: Connection | Session, order: str) -> None:
    """Place an order."""
    shop.execute(ORDERS.insert().values(id=order))


def orders(engine: Engine) -> int:
    """Count the orders."""
    with engine.connect() as shop:
        return len(shop.execute(select(ORDERS)).all())


def test_rolled_back_and_committed_with_the_order(timer: SqlTimer, engine: Engine, begin: Begin, where: Where) -> None:
    """A rolled-back order has no deadline. A committed order has one at once, without another call."""
    timer.arm([Deadline("old", ahead(LONG))])
    for order in ("failed", "placed"):
        with begin() as shop:
            insert(shop, order)
            timer.arm_in(where(shop), [Deadline(order, ago(1))])
            if order == "placed":
                timer.disarm_in(where(shop), ["old"])
                shop.commit()
            else:
                shop.rollback()
        assert timer.stats().pending == 1
    assert keys_of(timer.claim()) == ["placed"]
    assert orders(engine) == 1


def test_a_closed_session_leaves_nothing(timer: SqlTimer, engine: Engine, begin: Begin, where: Where) -> None:
    """A request that fails between the order and its commit leaves no deadline."""
    timer.stats()
    with begin() as shop:
        insert(shop, "1")
        timer.arm_in(where(shop), [Deadline("1", ago(1))])
    assert timer.stats().pending == orders(engine) == 0


def test_a_waiting_claim_is_woken_by_the_commit(
    timer: SqlTimer, url: str, begin: Begin, where: Where, engine: Engine
) -> None:
    """A claim wakes after the commit, and long before its next regular look."""
    with open_timer(url, name=timer.name) as worker:
        worker.stats()
        with begin() as shop:
            insert(shop, "1")
            timer.arm_in(where(shop), [Deadline("1", ago(1))])
            assert worker.claim(wait=timedelta(milliseconds=200)) == []
            shop.commit()
        assert keys_of(worker.claim(wait=timedelta(seconds=60))) == ["1"]
    assert orders(engine) == 1


def test_it_knows_where_it_can_be_armed(
    timer: SqlTimer, begin: Begin, where: Where, sql_url: Callable[[str], str]
) -> None:
    """arms_in is True in the timer's own database, where it creates the table, and False in one of another kind."""
    with begin() as shop:
        assert timer.is_beside(where(shop))
        assert timer.arms_in(where(shop))
        for scheme in KINDS:
            with open_timer(sql_url(scheme), name=timer.name) as elsewhere:
                assert isinstance(elsewhere, SqlTimer)
                same = scheme == timer.traits.mechanism
                assert elsewhere.arms_in(where(shop)) is elsewhere.is_beside(where(shop)) is same
