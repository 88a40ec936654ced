"""A private MariaDB starts, crashes, recovers, and never outlives the process that started it."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pymysql
import pytest

from lapse.testing.servers import MariaDbServer, ServerFailed
from tests.testing.test_servers import alive, eventually
from tests.timers.databases import NEEDS_MARIADB

pytestmark = NEEDS_MARIADB

STARTER = """
import sys
from lapse.testing.servers import MariaDbServer
server = MariaDbServer()
print(server.start().pid, flush=True)
sys.stdin.read()
"""


def ask(server: MariaDbServer, statement: str) -> tuple[tuple[Any, ...], ...]:
    """Run one statement, on a connection of its own."""
    with (
        pymysql.connect(
            host="127.0.0.1", port=server.port, user="root", database="lapse", autocommit=True, read_timeout=30
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return tuple(cursor.fetchall())


def test_it_starts_crashes_and_comes_back() -> None:
    """What was committed is there after a stop and after a SIGKILL, at the same address; then nothing is left."""
    with MariaDbServer() as server:
        ask(server, "CREATE TABLE t ENGINE = InnoDB AS SELECT 1 AS n")
        url = server.url
        for end in (server.kill, server.stop):
            process = server.pid
            end()
            assert not alive(process)
            server.start()
            assert ask(server, "SELECT n FROM t") == ((1,),)
            assert server.url == url
        process = server.pid
        server.freeze()  # stopping a frozen one must not hang
    assert not alive(process)
    assert not server.directory.exists()


def test_below_a_private_and_deep_directory(tmp_path: Path) -> None:
    """A path too long for a socket, with odd characters, works and keeps its data; options are passed on."""
    deep = tmp_path / ("Ä deep folder" * 8)
    for durable in (True, False):
        with MariaDbServer(deep, durable=durable, config={"max-connections": "33"}) as server:
            ask(server, "CREATE TABLE IF NOT EXISTS t (n INTEGER)")
            found = ask(server, "SELECT @@innodb_flush_log_at_trx_commit, @@innodb_doublewrite, @@max_connections")
            assert found == ((1, 1, 33) if durable else (2, 0, 33),)
            assert server.socket.exists()
        assert not server.socket.exists()


def test_an_interrupted_first_start_is_repeated(tmp_path: Path) -> None:
    """The half-made data of an interrupted first start is removed and made again."""
    (tmp_path / "data" / "mysql").mkdir(parents=True)
    with MariaDbServer(tmp_path) as server:
        assert ask(server, "SELECT DATABASE()") == (("lapse",),)


def test_several_start_at_once() -> None:
    """A server that starts does not remove files that another starting server is about to use."""
    failed: list[BaseException] = []

    def start() -> None:
        try:
            with MariaDbServer() as server:
                assert ask(server, "SELECT 1") == ((1,),)
        except BaseException as error:  # noqa: BLE001 - shown below
            failed.append(error)

    starters = [threading.Thread(target=start) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert failed == []


def test_the_error_shows_a_wrong_setting() -> None:
    """Where the server does not start, the error ends with the server's own log."""
    with pytest.raises(ServerFailed, match="no-such-setting"):
        MariaDbServer(config={"no-such-setting": "1"}).start()


def test_it_dies_with_its_starter(tmp_path: Path) -> None:
    """SIGKILL of the starting process ends the server."""
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert starter.stdout is not None
    assert starter.stdin is not None
    with starter.stdin, starter.stdout:
        process = int(starter.stdout.readline())
        assert alive(process)
        starter.kill()
        starter.wait()
        assert eventually(lambda: not alive(process))


def test_one_server_at_a_time_uses_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers on the same files would damage them, so the second server is refused."""
    monkeypatch.setattr("lapse.testing.private_server.STOP_WITHIN", -4.5)
    with MariaDbServer(tmp_path) as first:
        with pytest.raises(ServerFailed, match="another server uses"):
            MariaDbServer(tmp_path).start()
        assert first.running
