"""Ways to a Redis: Sentinels that want an account, TLS with Sentinel and with a cluster, a Unix socket, no HELLO."""

import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from lapse import Deadline, Timer, TimerRefused, TimerUnavailable, open_timer
from lapse.testing.conformance import LONG, ago, keys_of, wait_until
from lapse.testing.ports import free_port
from lapse.testing.redis_topologies import SLOTS
from lapse.testing.servers import RedisSentinel, RedisServer
from lapse.watch.watched_keys import open_watch
from tests.certificate import Certificate, sign_for_localhost
from tests.each_redis import WITH_TLS, each_redis, redis_named

PASSWORD = "open sesame"
ESCAPED = "open%20sesame"
SERVICE = "shop"


@pytest.fixture(params=each_redis())
def program(request: pytest.FixtureRequest) -> Path:
    """Return the program of each Redis and Valkey."""
    path: Path = request.param
    return path


def works(timer: Timer, key: str = "1") -> bool:
    """Return whether a deadline is armed, claimed and settled."""
    timer.arm([Deadline(key, ago(5))])
    claims = timer.claim()
    return keys_of(claims) == [key] and timer.settle(claims) == 1


def fires(url: str, server: RedisServer) -> bool:
    """Return whether a key that the shop sets beside a watcher is handed out."""
    with open_watch(url, prefix="nick_") as watch:
        assert watch.claim(wait=timedelta(seconds=0.1)) == []  # from here on the watcher tracks the keys
        server.ask("SET", "nick_1", "x", "PX", 500)
        return keys_of(watch.claim(wait=LONG)) == ["1"]


def refusal_of(url: str) -> str:
    """Return what a timer at a URL is refused with. No traceback shows the password, also not of a chained error."""
    with open_timer(url, name="orders") as timer, pytest.raises(TimerRefused) as refused:
        timer.claim()
    shown = "".join(traceback.format_exception(refused.value))
    assert PASSWORD not in shown
    assert "geheim" not in shown
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


@pytest.fixture
def guarded(program: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Start a master that wants a password, and a Sentinel that wants another one and knows a user of its ACL."""
    with RedisServer(binary=program, password="geheim") as master:
        watch = {
            f"sentinel monitor {SERVICE}": f"127.0.0.1 {master.port} 1",
            f"sentinel auth-pass {SERVICE}": "geheim",
        }
        with RedisServer(binary=program, config=watch, sentinel=True, password=PASSWORD) as sentinel:
            sentinel.ask("ACL", "SETUSER", "reader", "on", ">read%me", "+sentinel|masters", "+client", "+ping")
            yield master, sentinel


def test_c2_sentinels_that_want_a_password(guarded: tuple[RedisServer, RedisServer]) -> None:
    """The Sentinels' password and user stand in the URL, beside the password of the master."""
    _, sentinel = guarded
    url = f"redis+sentinel://:geheim@127.0.0.1:{sentinel.port}/{SERVICE}/3"
    for account in (f"sentinel_password={ESCAPED}", "sentinel_username=reader&sentinel_password=read%25me"):
        with open_timer(f"{url}?{account}", name="orders") as timer:
            assert works(timer)


def test_c2_a_missing_or_wrong_password_of_sentinels_is_one_sentence(guarded: tuple[RedisServer, RedisServer]) -> None:
    """It was a kilobyte of the library's innards after ten seconds, and the watcher waited for ever."""
    _, sentinel = guarded
    url = f"redis+sentinel://:geheim@127.0.0.1:{sentinel.port}/{SERVICE}"
    for account in ("", "?sentinel_password=geheimer", "?sentinel_username=reader&sentinel_password=geheimer"):
        said = refusal_of(url + account)
        assert said.startswith(
            f"the Sentinel at 127.0.0.1:{sentinel.port} refuses the account: add ?sentinel_password="
        )
        with (
            open_watch(url + account, prefix="nick_") as watch,
            pytest.raises(TimerRefused, match="refuses the account"),
        ):
            watch.claim()


def test_c2_the_password_of_the_master_is_asked_for_by_its_own_sentence(
    guarded: tuple[RedisServer, RedisServer],
) -> None:
    """The Sentinel lets the client in, the master does not."""
    _, sentinel = guarded
    url = f"redis+sentinel://:geheimer@127.0.0.1:{sentinel.port}/{SERVICE}?sentinel_password={ESCAPED}"
    assert "does not accept the user and the password" in refusal_of(url)


def test_c2_a_name_that_the_sentinels_do_not_know(program: Path) -> None:
    """The message names the masters that they know. A server that is no Sentinel is named as such."""
    with RedisServer(binary=program) as master:
        watch = {f"sentinel monitor {SERVICE}": f"127.0.0.1 {master.port} 1"}
        with RedisServer(binary=program, config=watch, sentinel=True) as sentinel:
            said = refusal_of(f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster")
            assert said == f"the Sentinels know no master named 'mymaster': they know {SERVICE}"
            away = free_port()
            with (
                open_timer(f"redis+sentinel://127.0.0.1:{away},127.0.0.1:{sentinel.port}/x", name="orders") as timer,
                pytest.raises(TimerUnavailable, match=f"no answer from the Sentinels at 127.0.0.1:{away}; the Sentin"),
            ):
                timer.claim()
        said = refusal_of(f"redis+sentinel://127.0.0.1:{master.port}/{SERVICE}")
        assert said == f"the server at 127.0.0.1:{master.port} is no Sentinel: its port is usually 26379"
        with RedisServer(binary=program, sentinel=True) as empty:
            assert "watch no master" in refusal_of(f"redis+sentinel://127.0.0.1:{empty.port}/{SERVICE}")


def test_a_master_that_is_down_is_unavailable(redis_binary: Path) -> None:
    """Sentinels that know the name, and wait for the master to come back, are no reason to give up."""
    with (
        RedisSentinel(binary=redis_binary, down_after_ms=500) as watched,
        open_timer(watched.url, name="orders") as timer,
    ):
        assert works(timer)
        for server in watched.servers:
            server.kill()
        wait_until(lambda: "down" in str(watched.sentinels[0].ask("SENTINEL", "MASTER", watched.service)))
        with pytest.raises(TimerUnavailable, match=r"its master is down|gave no answer"):
            timer.claim()
        for server in watched.servers:
            server.start()


def test_a_database_that_the_server_does_not_have(redis_server: RedisServer) -> None:
    """The number is understood, and refused by the server: the message says what the number is."""
    said = refusal_of(f"redis://127.0.0.1:{redis_server.port}/99")
    assert said.startswith("Redis refused: DB index is out of range: the last number of the URL is a database")


def test_a_password_that_stands_where_the_user_does(program: Path) -> None:
    """`redis://password@host` has no colon: the message says where it stands, and does not show the password."""
    with RedisServer(binary=program, password="geheim") as server:
        said = refusal_of(f"redis://geheim@127.0.0.1:{server.port}")
        assert "a password without a user stands after a colon, as :password@host" in said


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Sign a certificate for the servers."""
    return sign_for_localhost(tmp_path_factory.mktemp("redis"))


def by_tls(certificate: Certificate, port: int) -> dict[str, str]:
    """Return the settings of a server that takes TLS at a port, and itself uses TLS for the other servers."""
    return {
        "tls-port": str(port),
        "tls-cert-file": str(certificate.file),
        "tls-key-file": str(certificate.key),
        "tls-ca-cert-file": str(certificate.file),
        "tls-auth-clients": "no",
        "tls-replication": "yes",
    }


@pytest.mark.parametrize("mechanism", ["", "+expiry"])
def test_c12_tls_with_sentinel(certificate: Certificate, mechanism: str) -> None:
    """Sentinels and master by TLS; a certificate that is not trusted is named."""
    program, port, sentinel_port = redis_named(WITH_TLS), free_port(), free_port()
    with RedisServer(binary=program, config=by_tls(certificate, port)):
        watch = {**by_tls(certificate, sentinel_port), f"sentinel monitor {SERVICE}": f"127.0.0.1 {port} 1"}
        with RedisServer(binary=program, config=watch, sentinel=True):
            url = f"rediss{mechanism}+sentinel://127.0.0.1:{sentinel_port}/{SERVICE}"
            with open_timer(f"{url}?ssl_ca_certs={certificate.file}", name="orders") as timer:
                assert works(timer)
            with open_timer(url, name="orders") as timer, pytest.raises(TimerUnavailable, match=r"Sentinels at 127"):
                timer.claim()


@pytest.mark.parametrize("mechanism", ["", "+expiry"])
def test_c12_tls_with_a_cluster(certificate: Certificate, mechanism: str) -> None:
    """Two nodes, each found by the other's word at its port for TLS."""
    program = redis_named(WITH_TLS)
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                RedisServer(
                    binary=program,
                    config={**by_tls(certificate, port), "tls-cluster": "yes", "cluster-enabled": "yes"},
                )
            )
            for port in ports
        ]
        nodes[0].ask("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS // 2)
        nodes[1].ask("CLUSTER", "ADDSLOTSRANGE", SLOTS // 2 + 1, SLOTS - 1)
        nodes[1].ask("CLUSTER", "MEET", "127.0.0.1", ports[0])
        wait_until(lambda: all("cluster_state:ok" in str(node.ask("CLUSTER", "INFO")) for node in nodes))
        wait_until(lambda: all("cluster_known_nodes:2" in str(node.ask("CLUSTER", "INFO")) for node in nodes))
        url = f"rediss{mechanism}+cluster://127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}?shards=8"
        with open_timer(f"{url}&ssl_ca_certs={certificate.file}", name="orders") as timer:
            for key in range(20):
                assert works(timer, str(key))
        with pytest.raises(TimerUnavailable, match=r"ssl_ca_certs= in the URL"):
            open_timer(url, name="orders")


@pytest.mark.parametrize("scheme", ["unix", "redis+unix", "redis+expiry+unix"])
def test_c12_a_unix_socket(program: Path, scheme: str) -> None:
    """As redis-py writes it, and as its scheme here; with a password before the path or in the query."""
    with RedisServer(binary=program, password=PASSWORD, config={"unixsocket": "redis.sock"}) as server:
        socket = server.directory / "redis.sock"
        for url in (f"{scheme}://:{ESCAPED}@{socket}?db=2", f"{scheme}://{socket}?db=2&password={ESCAPED}"):
            with open_timer(url, name="orders") as timer:
                assert works(timer)
        assert "password" in refusal_of(f"{scheme}://:geheim@{socket}")
        assert "keys=" in str(server.ask("INFO", "keyspace"))
        assert "db2:" in str(server.ask("INFO", "keyspace"))


def test_c12_keys_are_watched_by_a_unix_socket(program: Path) -> None:
    """A watcher on the shop's host needs no port."""
    with RedisServer(binary=program, config={"unixsocket": "redis.sock"}) as server:
        assert fires(f"unix://{server.directory}/redis.sock?db=0", server)


@pytest.fixture
def without_hello(program: Path) -> Iterator[RedisServer]:
    """Start a server that does not know HELLO, as a proxy before Redis or a provider's server may not."""
    with RedisServer(binary=program, password=PASSWORD, config={"rename-command HELLO": '""'}) as server:
        yield server


def test_c6_a_server_without_hello_says_which_option_helps(without_hello: RedisServer) -> None:
    """The message says `?protocol=2`. The server's own words repeat the password, which is shown nowhere."""
    assert "add ?protocol=2 to the URL" in refusal_of(without_hello.url)
    assert "add ?protocol=2 to the URL" in refusal_of(f"redis://127.0.0.1:{without_hello.port}")
    with open_watch(without_hello.url, prefix="nick_") as watch, pytest.raises(TimerRefused, match="protocol=2"):
        watch.claim()


@pytest.mark.parametrize("scheme", ["redis", "redis+expiry", "apscheduler+redis"])
def test_c6_every_mechanism_works_by_protocol_2(without_hello: RedisServer, scheme: str) -> None:
    """Arming, claiming and counting work by the older protocol, and the check finds what it finds by the newer."""
    found = []
    with RedisServer(binary=without_hello.binary, password=PASSWORD) as usual:
        for url in (f"{without_hello.url}?protocol=2", usual.url):
            with open_timer(f"{scheme}{url.removeprefix('redis')}", name="orders") as timer:
                assert works(timer)
                timer.arm([Deadline("2", ago(5))])
                assert timer.stats().due == 1
                found.append({(finding.fit, finding.text) for finding in timer.check() if "clock" not in finding.text})
    assert found[0] == found[1]


def test_c6_keys_are_watched_by_protocol_2(without_hello: RedisServer) -> None:
    """The events arrive by the older protocol too."""
    assert fires(f"{without_hello.url}?protocol=2", without_hello)
