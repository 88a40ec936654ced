"""What all tests share: how many processes run them, which tests run in one process, and the servers of a process."""

import gc
import os
import re
import signal
import ssl
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import certifi
import pytest
from django.core.management.commands import flush
from django.db import connections
from django.utils import translation
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from lapse.orders.retries import Retries
from lapse.testing.ports import free_port
from lapse.testing.servers import MariaDbServer, PostgresServer, RabbitServer
from tests.certificate import Certificate, sign_for_localhost
from tests.each_redis import each_redis
from tests.rabbit_here import skip_without_rabbit

MOST_PROCESSES = 8
"""Each has servers and a browser of its own: half a gigabyte."""

SLOW_TO_START = {"rabbitmq": "rabbit", "amqp": "rabbit", "mysql": "mariadb", "mariadb": "mariadb"}
"""A word in a test's name or parameters → the group of all tests of this server, which takes long to start."""

SERVERS_OF_THEIR_OWN = {"tests/timers/test_rabbitmq_faults.py", "tests/timers/test_mysql_refusals.py"}
"""Files whose tests kill or configure their servers, so that they share none."""

ONE_SHOP = {
    "tests/shop/test_accessibility.py": "open shop",
    "tests/shop/test_run.py": "open shop",
    "tests/shop/test_crash.py": "seeded shop",
    "tests/shop/test_dying_at_the_commit.py": "seeded shop",
    "tests/shop/test_wrong_passwords.py": "seeded shop",
}
"""Files whose tests share one run of the shop, or one database to copy → their group: a start takes 12 seconds of
computing, the migrations take 4."""

LONGEST_FIRST = (
    "tests/shop/test_every_timer.py",
    "tests/examples/test_oscar_shop.py",
    "open shop",
    "tests/shop/test_browser.py",
    "rabbit",
    "mariadb of Django",
    "mariadb",
    "tests/timers/test_apscheduler_life.py",
    "tests/timers/test_redis_topologies.py",
    "seeded shop",
    "tests/timers/test_rabbitmq_faults.py",
    "tests/docs/test_pages.py",
    "tests/shop/test_heartbeat.py",
    "tests/benchmarks/test_comparison.py",
    "tests/timers/test_apscheduler.py",
    "tests/watch/test_watch_command.py",
    "tests/watch/test_watched_keys.py",
)
"""Groups that take longest begin first, so that no process waits for another one at the end."""

KEPT_BY_FLUSH = {"django_content_type", "auth_permission"}
"""Tables that say the same in every test. Django fills both again after each flush, which takes longer than a test."""


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `--numprocesses=auto` means: two for each core, because tests mostly wait."""
    return min(2 * (os.cpu_count() or 1), MOST_PROCESSES)


class ByGroup(LoadScopeScheduling):  # type: ignore[misc] # pytest-xdist ships no types
    """Sends all tests of a group to one process."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByGroup | None:
    """Return what `--dist=loadfile` means here: a group is a file, or all tests of one server."""
    return ByGroup(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without looking for garbage: a third of the time goes there, and all that is collected stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the groups that take longest first; the others keep their order."""
    turns = {group: turn for turn, group in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: turns.get(group_of(item.nodeid), len(turns)))


def group_of(nodeid: str) -> str:
    """Return the group of a test: its file, or what it uses where that takes long to start."""
    file = nodeid.partition("::")[0]
    if file in ONE_SHOP:
        return ONE_SHOP[file]
    words = [] if file in SERVERS_OF_THEIR_OWN else re.findall("[a-z]+", nodeid.lower())
    group = next((SLOW_TO_START[word] for word in words if word in SLOW_TO_START), file)
    return "mariadb of Django" if group == "mariadb" and file.startswith("tests/django/") else group


def pytest_configure() -> None:
    """Handle the signals that this process ignores: Ctrl-C in the background, a terminal's end under nohup.

    The handler does nothing. A program that a test starts inherits an ignored signal, but no handler.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a Redis's program on each of them, by name: in `make test` on one, or on all where it is marked."""
    if "redis_binary" in metafunc.fixturenames:
        short = metafunc.definition.get_closest_marker("each_redis") is not None
        metafunc.parametrize("redis_binary", each_redis(short=short), indirect=True)


@pytest.fixture(scope="session")
def redis_binary(request: pytest.FixtureRequest) -> Path:
    """Return the program of each Redis and Valkey in turn, by name."""
    binary: Path = request.param
    return binary


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
    """Let Django flush a database by one statement, and leave alone what it would only fill again.

    To truncate a table makes PostgreSQL new files, also where no row is: 30 times the work of deleting a few rows.
    """

    def statements(style: Any, connection: Any, **options: bool) -> Iterable[str]:
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        kept = [name for name in names if name not in KEPT_BY_FLUSH]
        if connection.vendor == "postgresql":  # foreign keys are checked at the commit, so any order is right
            return ["; ".join(f"DELETE FROM {connection.ops.quote_name(name)}" for name in kept)]  # noqa: S608 - tables of Django
        return list(connection.ops.sql_flush(style, kept, **options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", statements)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_, **__: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_trust_store() -> Iterator[None]:
    """Let the HTTP clients of this process share the certificates that they trust: reading these takes 60 ms.

    What names no file gets a context without certificates: no server of a test has one that the system trusts, and
    PyMySQL reads the system's for each connection.
    """
    create = ssl.create_default_context
    trusted = {certifi.where(), os.environ.get("SSL_CERT_FILE", "")}  # httpx takes the second where it is set
    shared = cache(lambda file: create(cafile=file))

    def quick(*given: Any, **options: Any) -> ssl.SSLContext:
        if not given and options and not any(options.values()):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not given and set(options) == {"cafile"} and options["cafile"] in trusted:
            return shared(options["cafile"])
        return create(*given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", quick)
        yield


@pytest.fixture(autouse=True)
def no_language_of_another_test() -> Iterator[None]:
    """Take back the language that a request of the test has chosen for this thread."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def no_cancel_of_another_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the cancels that wait for a gateway: another test's order may have the same key."""
    made: list[Retries] = []
    begin = Retries.__init__

    def remember(self: Retries, **given: Any) -> None:
        made.append(self)
        begin(self, **given)

    monkeypatch.setattr(Retries, "__init__", remember)
    yield
    for retries in made:
        retries.forget()


@pytest.fixture(scope="session")
def rabbit_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Sign a certificate for the broker."""
    return sign_for_localhost(tmp_path_factory.mktemp("rabbit"))


@pytest.fixture(scope="session")
def rabbit(rabbit_certificate: Certificate) -> Iterator[RabbitServer]:
    """Start a private RabbitMQ with its management API and a second port for TLS; it is gone when this process is."""
    skip_without_rabbit()
    config = {
        "listeners.ssl.1": f"127.0.0.1:{free_port()}",
        "ssl_options.certfile": str(rabbit_certificate.file),
        "ssl_options.keyfile": str(rabbit_certificate.key),
    }
    with RabbitServer(config=config, management=True) as server:
        yield server


@pytest.fixture(scope="session")
def rabbit_by_tls(rabbit: RabbitServer) -> str:
    """Return the address of the broker's TLS port."""
    return f"amqps://lapse:{rabbit.password}@localhost:{rabbit.config['listeners.ssl.1'].rpartition(':')[2]}"
