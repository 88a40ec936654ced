"""`lapse check`, `watch` and workers at an address that is not the one that was meant: one sentence says what it is."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from lapse import TimerUnavailable, open_timer
from lapse.testing.ports import free_port
from lapse.testing.redis_topologies import RedisCluster, RedisSentinel
from lapse.testing.servers import RedisServer
from lapse.watch.watched_keys import open_watch
from tests.certificate import sign_for_localhost
from tests.cli.running import run_here
from tests.each_redis import WITH_TLS, each_redis, redis_here
from tests.engine.running import wait_until
from tests.watch.programs import Watcher

WATCH = ("--prefix", "nick_")
PASSWORD = "s3cret-pass"
BOTH = pytest.mark.parametrize("words", [(), WATCH], ids=["timer", "watch"])


def answer(url: str, *words: str, command: str = "check") -> str:
    """Run a command that fails. Return what it reports, without the findings that are fit."""
    done = run_here(command, url, *words)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    shown = (done.stdout + done.stderr).splitlines()
    return "\n".join(line for line in shown if line.startswith(("BAD", "lapse:")))


@pytest.fixture(scope="module", params=each_redis())
def replica(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Start a master and its replica, which sends the needed events. Return the replica."""
    config = {"notify-keyspace-events": "KEA", "repl-diskless-sync-delay": "0"}
    with (
        RedisServer(binary=request.param, config=config) as master,
        RedisServer(binary=request.param, config=config) as replica,
    ):
        replica.ask("REPLICAOF", "127.0.0.1", master.port)
        wait_until(lambda: "master_link_status:up" in str(replica.ask("INFO", "replication")))
        replica.master_port = master.port  # type: ignore[attr-defined] # for these tests only
        yield replica


@pytest.mark.parametrize(("scheme", "words"), [("redis", ()), ("redis", WATCH), ("redis+expiry", ())])
def test_c5_a_replica_is_bad(replica: RedisServer, scheme: str, words: tuple[str, ...]) -> None:
    """The address of a read replica passed every check: it is BAD, and the master's address is named."""
    said = answer(replica.url.replace("redis", scheme, 1), *words)
    assert f"BAD  this server is a replica of 127.0.0.1:{replica.master_port}" in said  # type: ignore[attr-defined]
    assert "give the master's address" in said


@pytest.mark.parametrize("scheme", ["redis", "redis+expiry"])
def test_c5_a_worker_on_a_replica_reports_it(replica: RedisServer, scheme: str) -> None:
    """A worker claimed from a replica for ever, and found nothing to do: each claim fails with the reason."""
    with (
        open_timer(replica.url.replace("redis", scheme, 1), name="orders") as timer,
        pytest.raises(TimerUnavailable, match=r"is a replica of .* give the master's address"),
    ):
        timer.claim()
    with (
        open_watch(replica.url, prefix="nick_", hooks=()) as watched,
        pytest.raises(TimerUnavailable, match=r"is a replica of .* give the master's address"),
    ):
        watched.claim()


def test_c5_a_watcher_on_a_replica_reports_it(replica: RedisServer, tmp_path: Path) -> None:
    """`lapse watch` on a replica was silent: its log has the reason at once, and it goes on when the master is back."""
    watcher = Watcher(tmp_path, replica.url, *WATCH, "--post", "http://127.0.0.1:1/")
    wait_until(lambda: watcher.said("timer away"), patience=60)
    assert "is a replica of 127.0.0.1:" in watcher.said("timer away")[0]["reason"]
    assert any("is a replica of" in event["reason"] for event in watcher.said("server unfit"))
    replica.ask("REPLICAOF", "NO", "ONE")
    watcher.begin()
    watcher.end()
    replica.ask("REPLICAOF", "127.0.0.1", replica.master_port)  # type: ignore[attr-defined] # as above


@contextmanager
def stranger(talk: Callable[[socket.socket], object]) -> Iterator[str]:
    """Listen at a port, and talk with each client. Return the address as if it were a Redis."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def meet(client: socket.socket) -> None:
            with client:
                talk(client)

        def accept() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=meet, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0?socket_timeout=1"


STRANGERS = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n",
    "an error page": b"<html><head><title>400</title></head></html>",
    "SSH": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "PostgreSQL": b"E\0\0\0\x60SFATAL\0C08P01\0Minvalid length of startup packet\0\0",
    "RabbitMQ": b"AMQP\0\0\x09\x01",
    "MySQL": b"\x5b\0\0\0\x0a5.5.5-10.11.6-MariaDB\0",
}


@BOTH
@pytest.mark.parametrize("greeting", STRANGERS.values(), ids=STRANGERS)
def test_c5_another_server_at_the_port_is_no_traceback(greeting: bytes, words: tuple[str, ...]) -> None:
    """A web server or another program at the port ended the command with a traceback: it is one sentence."""

    def talk(client: socket.socket) -> None:
        client.sendall(greeting)
        client.recv(1000)
        time.sleep(0.2)

    with stranger(talk) as url:
        assert answer(url, *words).startswith(
            "lapse: what answers at this address does not speak the protocol of Redis"
        )


def test_c5_a_port_that_ends_the_connection_may_be_for_tls() -> None:
    """A connection that ends before any answer is what a port for TLS does: the scheme to write is named."""
    with stranger(lambda client: client.recv(1000)) as url:
        assert "if this port is for TLS, write rediss://" in answer(url)


@pytest.mark.skipif(WITH_TLS not in redis_here(), reason=f"no {WITH_TLS}, which has TLS")
def test_c5_a_port_of_a_redis_with_tls(tmp_path: Path) -> None:
    """redis:// to the TLS port of a real Redis."""
    certificate, port = sign_for_localhost(tmp_path), free_port()
    config = {
        "tls-port": str(port),
        "tls-cert-file": str(certificate.file),
        "tls-key-file": str(certificate.key),
        "tls-ca-cert-file": str(certificate.file),
    }
    with RedisServer(binary=redis_here()[WITH_TLS], config=config):
        assert "write rediss:// for redis://" in answer(f"redis://127.0.0.1:{port}/0")


def test_c5_a_server_that_is_silent() -> None:
    """A connection that is taken and never answered is reported after the time-out, without the library's words."""
    with stranger(lambda _: time.sleep(20)) as url:
        assert "no answer in time" in answer(url)


ACCOUNTS = [
    ("", "the server wants a password"),
    (":wrong@", "does not accept the user and the password of the URL"),
    (f"stranger:{PASSWORD}@", "does not accept the user and the password of the URL"),
]


@BOTH
@pytest.mark.parametrize(("account", "sentence"), ACCOUNTS, ids=["none", "wrong", "unknown user"])
@pytest.mark.parametrize("command", ["check", "stats"])
def test_c5_passwords_and_users(
    guarded: RedisServer, account: str, sentence: str, words: tuple[str, ...], command: str
) -> None:
    """NOAUTH and WRONGPASS are sentences that say what the URL lacks."""
    said = answer(f"redis://{account}127.0.0.1:{guarded.port}/0", *words, command=command)
    assert sentence in said
    assert "HELLO" not in said


@pytest.fixture(scope="module", params=each_redis())
def guarded(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Start a server with a password."""
    with RedisServer(binary=request.param, password=PASSWORD) as server:
        yield server


def test_c5_a_user_without_rights(guarded: RedisServer) -> None:
    """A user that may do next to nothing is BAD, and what could not be looked at is said to be not checked."""
    guarded.ask("ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+multi", "+discard", "+ping")
    said = answer(f"redis://poor:pw@127.0.0.1:{guarded.port}/0", *WATCH)
    assert "this user may not run: " in said
    assert "eviction and persistence are not checked" in said
    assert "not checked: which keys exist" in said
    assert "ACL SETUSER" in said


def test_c5_a_database_that_is_not_there(guarded: RedisServer) -> None:
    """A number beyond the server's databases: what numbers there are."""
    assert "0 to 15" in answer(f"redis://:{PASSWORD}@127.0.0.1:{guarded.port}/99")


@BOTH
@pytest.mark.parametrize("binary", each_redis())
def test_c5_the_port_of_a_sentinel_and_the_reverse(binary: Path, words: tuple[str, ...]) -> None:
    """A Sentinel's port given as a server's, and a server's as a Sentinel's."""
    with RedisSentinel(binary=binary) as sentinel:
        port = re.search(r":(\d+)/", sentinel.url)
        assert port
        assert "a Sentinel answers at this address" in answer(f"redis://127.0.0.1:{port[1]}/0", *words)
        assert "no Sentinel" in answer(f"redis+sentinel://127.0.0.1:{sentinel.master.port}/mymaster/0", *words)


def test_c5_a_node_of_a_cluster_and_the_reverse() -> None:
    """MOVED, and a single server with the scheme of a cluster: the scheme to write."""
    with RedisCluster() as cluster:
        nodes = {cluster.node_of(slot).port for slot in (0, 16_383)}
        said = [run_here("stats", f"redis://127.0.0.1:{port}/0") for port in nodes]
        # The keys are at one of the nodes, for which this URL works until they move.
        assert any("write redis+cluster:// for redis://" in done.stderr for done in said)
    with RedisServer() as server:
        assert "write redis:// for redis+cluster://" in answer(f"redis+cluster://127.0.0.1:{server.port}")


def test_c5_a_server_in_protected_mode() -> None:
    """The server's long advice to its administrator is one sentence."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: only this machine's own address is looked up
        except OSError:
            pytest.skip("this machine has no address but the loopback")
        host = probe.getsockname()[0]
    with RedisServer(config={"bind": f"127.0.0.1 {host}", "protected-mode": "yes"}) as server:
        said = answer(f"redis://{host}:{server.port}/0")
    assert "the server is in protected mode" in said
    assert len(said) < 250


def test_c5_a_server_with_no_connection_left() -> None:
    """`maxclients` is named."""
    with RedisServer(config={"maxclients": "1"}) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert "maxclients" in answer(server.url)


@BOTH
def test_c5_a_provider_without_config(words: tuple[str, ...]) -> None:
    """Without CONFIG, what is not checked is said; a timer that needs events names the line and the console."""
    with RedisServer(config={"rename-command": 'CONFIG ""'}) as server:
        if words:
            said = answer(server.url, *words)
            assert "in the provider's console: notify-keyspace-events Kg$x" in said
            said = answer(server.url, *words, "--fix")
            assert "in the provider's console: notify-keyspace-events Kg$x" in said
        else:
            done = run_here("check", server.url)
            assert done.returncode == 0
            assert "whether snapshots are saved is not checked" in done.stdout
