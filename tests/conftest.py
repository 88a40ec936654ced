"""What all tests share: how many processes run them, which tests run in one process, and the servers of a process."""

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management.commands import flush
from django.db import connections

from lapse.testing.ports import free_port
from lapse.testing.servers import MariaDbServer, PostgresServer, RabbitServer
from tests.certificate import Certificate, sign_for_localhost
from tests.rabbit_here import skip_without_rabbit

ROOT = Path(__file__).resolve().parents[1]

MOST_PROCESSES = 8
"""Each has servers and a browser of its own: half a gigabyte."""

SLOW_TO_START = {"amqp": "rabbit", "rabbit": "rabbit", "mysql": "mariadb", "mariadb": "mariadb", "sql_url": "mariadb"}
"""A parameter or a fixture with a server that takes long to start → the group of all tests that use this server."""

LONGEST_FIRST = (
    "tests/shop/test_every_timer.py",
    "tests/shop/test_browser.py",
    "rabbit",
    "mariadb",
    "tests/shop/test_accessibility.py",
    "tests/shop/test_run.py",
    "tests/shop/test_crash.py",
    "tests/timers/test_redis_topologies.py",
    "tests/timers/test_rabbitmq_faults.py",
    "tests/docs/test_pages.py",
    "tests/timers/test_apscheduler_life.py",
    "tests/watch/test_watched_keys.py",
)
"""Groups that take longest begin first, so that no process waits for another one at the end."""

KEPT_BY_FLUSH = {"django_content_type", "auth_permission"}
"""Tables that say the same in every test. Django fills both again after each flush, which takes longer than a test."""


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `--numprocesses=auto` means: two for each core, because tests mostly wait."""
    return min(2 * (os.cpu_count() or 1), MOST_PROCESSES)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Run the tests of a file in one process, and all tests of a server that takes long to start.

    A test with an `xdist_group` of its own keeps this group.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(_group_of(item)))
    yield  # pytest brings tests with the same fixture together, and pytest-xdist notes the groups
    items.sort(key=_turn)


def _group_of(item: pytest.Item) -> str:
    called_with = getattr(item, "callspec", None)
    parameters = called_with.params.values() if called_with else ()
    for name in (*map(str, parameters), *getattr(item, "fixturenames", ())):
        if name in SLOW_TO_START:
            return SLOW_TO_START[name]
    return item.path.relative_to(ROOT).as_posix()


def _turn(item: pytest.Item) -> int:
    """Return the place of the item's group in LONGEST_FIRST; other groups keep their order behind these."""
    marker = item.get_closest_marker("xdist_group")
    group = marker.args[0] if marker else ""
    return LONGEST_FIRST.index(group) if group in LONGEST_FIRST else len(LONGEST_FIRST)


def pytest_configure() -> None:
    """Handle the signals that this process ignores: Ctrl-C in the background, a terminal's end under nohup.

    The handler does nothing. A program that a test starts inherits an ignored signal, but no handler.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start a private PostgreSQL for this process; it is gone when that is."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDbServer]:
    """Start a private MariaDB for this process; it is gone when that is."""
    with MariaDbServer() as server:
        yield server


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres: PostgresServer) -> None:
    """Let Django find the server, in this process and in those that tests start."""
    os.environ["LAPSE_TEST_DATABASE_HOST"] = str(postgres.sockets)
    connections["default"].settings_dict["HOST"] = str(postgres.sockets)


@pytest.fixture(scope="session", autouse=True)
def quick_flush() -> Iterator[None]:
    """Let Django flush a database by one statement, and leave alone what it would only fill again."""

    def statements(style: Any, connection: Any, **options: bool) -> Iterable[str]:
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        kept = [name for name in names if name not in KEPT_BY_FLUSH]
        return list(connection.ops.sql_flush(style, kept, **options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", statements)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_, **__: None)
        yield


@pytest.fixture(scope="session")
def rabbit_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Sign a certificate for the broker."""
    return sign_for_localhost(tmp_path_factory.mktemp("rabbit"))


@pytest.fixture(scope="session")
def rabbit(rabbit_certificate: Certificate) -> Iterator[RabbitServer]:
    """Start a private RabbitMQ, which takes TLS at another port as well; it is gone when this process is."""
    skip_without_rabbit()
    config = {
        "listeners.ssl.1": f"127.0.0.1:{free_port()}",
        "ssl_options.certfile": str(rabbit_certificate.file),
        "ssl_options.keyfile": str(rabbit_certificate.key),
    }
    with RabbitServer(config=config) as server:
        yield server


@pytest.fixture(scope="session")
def rabbit_by_tls(rabbit: RabbitServer) -> str:
    """Return the address of the broker's TLS port."""
    return f"amqps://lapse:{rabbit.password}@localhost:{rabbit.config['listeners.ssl.1'].rpartition(':')[2]}"
