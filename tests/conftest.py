"""What all tests share: how many processes run them, and one PostgreSQL for each of these."""

import os
import signal
from collections.abc import Iterator

import pytest
from django.db import connections

from lapse.testing.ports import free_port
from lapse.testing.servers import PostgresServer, RabbitServer
from tests.certificate import Certificate, sign_for_localhost
from tests.rabbit_here import skip_without_rabbit

MOST_PROCESSES = 8
"""Each has servers and a browser of its own: half a gigabyte."""


def pytest_xdist_auto_num_workers() -> int:
    """Say how many processes `--numprocesses=auto` means: two for each core, because tests mostly wait for servers."""
    return min(2 * (os.cpu_count() or 1), MOST_PROCESSES)


def pytest_configure() -> None:
    """Go on ignoring Ctrl-C in the background and the end of the terminal under nohup, but by a handler.

    What is ignored stays ignored in all that tests start; what is handled does not.
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
def django_db_modify_db_settings(postgres: PostgresServer) -> None:
    """Let Django find the server, in this process and in those that tests start."""
    os.environ["LAPSE_TEST_DATABASE_HOST"] = str(postgres.sockets)
    connections["default"].settings_dict["HOST"] = str(postgres.sockets)


@pytest.fixture(scope="session")
def rabbit_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Sign a certificate for the broker."""
    return sign_for_localhost(tmp_path_factory.mktemp("rabbit"))


@pytest.fixture(scope="session")
def rabbit(rabbit_certificate: Certificate) -> Iterator[RabbitServer]:
    """Start a private RabbitMQ, which takes TLS at another port as well; it is gone when the run is."""
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
    """Address it by TLS."""
    return f"amqps://lapse:{rabbit.password}@localhost:{rabbit.config['listeners.ssl.1'].rpartition(':')[2]}"
