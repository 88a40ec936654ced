"""A wrong host, port, account or database in a timer's URL, on real servers: one sentence that says what to do."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lapse import TimerError, TimerUnavailable, open_timer
from lapse.testing.servers import MariaDbServer, PostgresServer

SECRET = "hunter2"


def _sentence(url: str) -> str:
    """Return what an operator reads about this URL. It has no part of the password and no driver's words."""
    with pytest.raises(TimerError) as caught, open_timer(url, name="orders") as timer:
        timer.stats()
    text = str(caught.value)
    for unwanted in (SECRET, "Errno", "Error ", "AddressFamily", "_ssl.c", "\n"):
        assert unwanted not in text
    return text


@pytest.mark.parametrize(
    "scheme", ["redis", "redis+cluster", "redis+expiry", "postgresql", "mysql", "amqp", "apscheduler+redis"]
)
def test_a_port_where_no_server_listens_is_said_with_what_to_check(scheme: str) -> None:
    """The answer was "Error 111 connecting to localhost:1. Connection refused", or a driver's like it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and no server listens
        path = "/shop" if scheme in {"postgresql", "mysql"} else ""
        text = _sentence(f"{scheme}://user:{SECRET}@127.0.0.1:{taken.getsockname()[1]}{path}")
    assert "Connection refused" in text
    assert "no server listens there: check the host and the port in the URL, and that the server runs" in text


@pytest.mark.parametrize("scheme", ["redis", "postgresql", "mysql", "amqp"])
def test_a_host_without_an_address_is_said_with_what_to_check(scheme: str) -> None:
    """The answer was "Error -2 connecting to …", or a driver's like it."""
    path = "/shop" if scheme in {"postgresql", "mysql"} else ""
    assert "this host has no address: check the host in the URL" in _sentence(
        f"{scheme}://user:{SECRET}@no-such-host.invalid{path}"
    )


@pytest.mark.parametrize("url", ["redis+unix:///nowhere/redis.sock", "postgresql:///shop?host=/nowhere"])
def test_a_socket_that_does_not_exist_is_said_with_what_to_check(url: str) -> None:
    """The answer was "Error 2 connecting to /nowhere/redis.sock"."""
    assert "there is no socket: check the path in the URL" in _sentence(url)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Yield a port that takes connections and answers nothing, as a server that waits for another protocol does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("form", ["postgresql://u:{}@{}/shop?connect_timeout=2", "mysql://u:{}@{}/shop?read_timeout=2"])
def test_a_server_of_another_kind_that_stays_silent_is_said_with_what_to_check(form: str, silent_port: int) -> None:
    """A Redis at a PostgreSQL URL: "connection timeout expired" named no cause."""
    text = _sentence(form.format(SECRET, f"127.0.0.1:{silent_port}"))
    assert "check the host and the port in the URL" in text


def test_a_server_without_amqp_is_said_without_the_words_of_the_library(silent_port: int) -> None:
    """A web server at an AMQP URL: the answer was two lines with the library's AddressFamily and SocketKind."""
    text = _sentence(f"amqp://u:{SECRET}@127.0.0.1:{silent_port}")
    assert "timeout before it spoke AMQP, usually at port 5672, or 5671 by TLS" in text


def test_a_wrong_account_or_database_of_postgresql_says_what_to_correct(postgres: PostgresServer) -> None:
    """The answer "FATAL: database … does not exist" came without what to do."""
    assert "create the database, or correct the URL's path" in _sentence(postgres.url_of("shopp"))
    account = postgres.url.replace("postgres@", f"nouser:{SECRET}@", 1)
    assert "check the user and the password in the URL" in _sentence(account)


def test_a_postgresql_that_takes_no_writes_says_what_to_correct(postgres: PostgresServer) -> None:
    """A replica, or a database set read-only: "session is read-only" came without what to do."""
    text = _sentence(f"{postgres.url}&options=-c%20default_transaction_read_only%3Don")
    assert "session is read-only; name the primary in the URL, or permit writes in this database" in text


def test_a_wrong_account_or_database_of_mariadb_says_what_to_correct(mariadb: MariaDbServer) -> None:
    """The answers "Unknown database" and "Access denied" came without what to do."""
    assert "create the database, or correct the URL's path" in _sentence(mariadb.url_of("shopp"))
    account = mariadb.url.replace("root@", f"nouser:{SECRET}@", 1)
    assert "check the user and the password in the URL" in _sentence(account)


def test_the_advice_makes_no_error_final() -> None:
    """A worker waits for a server that is away, also where the message gives advice."""
    with open_timer("redis://127.0.0.1:1", name="orders") as timer, pytest.raises(TimerUnavailable):
        timer.stats()


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("", "this is a folder: add the name of a file to the URL"),
        ("missing/orders.db", "there is no folder {}/missing: create it"),
        ("notes.txt", "this file has other content, so name another file in the URL"),
    ],
)
def test_a_wrong_path_of_sqlite_says_what_is_there(tmp_path: Path, place: str, advice: str) -> None:
    """Each of these paths was answered by "is it a file in a folder that this process may write?"."""
    notes = tmp_path / "notes.txt"
    notes.write_text("these are notes, and no database\n" * 100)
    assert advice.format(tmp_path) in _sentence(f"sqlite:///{tmp_path / place}")
    assert notes.read_text().startswith("these are notes")
