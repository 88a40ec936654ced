"""`lapse watch` in processes of its own: it loses nothing, shares the work, and refuses what must not be."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from standardwebhooks.webhooks import Webhook as Verifying

from lapse.testing.servers import RedisServer
from tests.cli.running import run_here
from tests.engine.running import wait_until
from tests.watch.programs import LAPSE, SECRET, Watcher, environment, watching
from tests.watch.receiver import Receiver

MANY = 100_000
AWAY = 10.0
"""Seconds for which the watcher is away."""

PASSWORD = "s3cret-pass"


@pytest.fixture
def server(redis_binary: Path) -> Iterator[RedisServer]:
    """Start a Redis with a password."""
    with RedisServer(binary=redis_binary, password=PASSWORD) as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Open the shop's address."""
    with Receiver() as receiver:
        yield receiver


def set_to_expire(shop: redis.Redis, ends: dict[str, datetime]) -> None:
    """Set many keys that expire at these times."""
    pipeline = shop.pipeline(transaction=False)
    for count, (key, end) in enumerate(ends.items(), start=1):
        pipeline.set(f"nick_{key}", "x", pxat=int(end.timestamp() * 1000))
        if count % 10_000 == 0:
            pipeline.execute()
    pipeline.execute()


def lapse(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [LAPSE, *words], capture_output=True, text=True, check=False, timeout=120, env=environment(**variables)
    )


def answer(*words: str) -> Any:
    """Run a command with --json and return what it said."""
    done = run_here(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_and_away_it_delivers_every_order(
    server: RedisServer, shop: redis.Redis, receiver: Receiver, tmp_path: Path
) -> None:
    """Among 100,000 keys 1,000 expire while the watcher is dead; it comes back, and each is delivered, none early."""
    words = (server.url, "--prefix", "nick_", "--post", receiver.url)
    far = datetime.now(UTC) + timedelta(hours=2)
    set_to_expire(shop, {f"far{number}": far for number in range(MANY - 1000)})
    watcher = Watcher(tmp_path, *words).begin()
    begun = datetime.now(UTC)
    ends = {f"due{n}": begun + timedelta(seconds=5, milliseconds=(AWAY + 2) * n) for n in range(1000)}
    set_to_expire(shop, ends)
    ledger = ("stats", server.url, "--prefix", "nick_")
    wait_until(lambda: answer(*ledger)["pending"] == MANY or receiver.calls)
    watcher.kill()
    killed = datetime.now(UTC)
    seen = len(receiver.calls)
    wait_until(lambda: datetime.now(UTC) >= max(killed + timedelta(seconds=AWAY), *ends.values()))
    assert len(receiver.calls) == seen
    with watching(tmp_path, *words) as again:
        assert sum(one.get("count", 0) for one in again.said("keys learnt")) >= MANY - 1000
        wait_until(lambda: len(set(receiver.keys)) == 1000)
        wait_until(lambda: answer(*ledger)["claimed"] == 0)
        assert answer(*ledger)["due"] == 0
    times = Counter(receiver.keys)
    assert times.keys() == ends.keys()
    early = [call.key for call in receiver.calls if call.at <= ends[call.key]]
    assert not early
    # Only what was under way at the kill may come twice: no more than can be under way.
    assert sum(count - 1 for count in times.values()) <= 32
    assert answer(*ledger)["pending"] == MANY - 1000


@pytest.mark.parametrize("total", [500, pytest.param(2000, marks=pytest.mark.long)])
def test_several_share_the_work(
    server: RedisServer, shop: redis.Redis, receiver: Receiver, tmp_path: Path, total: int
) -> None:
    """Three watchers: every order is delivered by one of them, signed, and each of them does some."""
    words = (server.url, "--prefix", "nick_", "--post", receiver.url)
    receiver.before_answer = lambda call: Verifying(SECRET).verify(call.text, call.headers)
    with watching(tmp_path, *words) as one, watching(tmp_path, *words) as two, watching(tmp_path, *words) as three:
        now = datetime.now(UTC)
        ends = {str(number): now + timedelta(seconds=1, milliseconds=number % 500) for number in range(total)}
        set_to_expire(shop, ends)
        receiver.wait_for(total)
        wait_until(lambda: answer("stats", server.url, "--prefix", "nick_")["claimed"] == 0)
        done = [len(watcher.said("batch handled")) for watcher in (one, two, three)]
    assert any("LAPSE_TIMER" in event["event"] for event in one.events)  # that the password is on the command line
    assert Counter(receiver.keys) == Counter(ends.keys())
    assert not [call for call in receiver.calls if call.at <= ends[call.key]]
    assert (sum(done), min(done) > 0) == (total, True)


def test_what_fails_is_buried_listed_and_revived(
    server: RedisServer, shop: redis.Redis, receiver: Receiver, tmp_path: Path
) -> None:
    """After the last attempt an order lies buried with what the shop said; it is delivered once it is revived."""
    receiver.otherwise = (500, {})
    words = ("--prefix", "nick_", "--post", receiver.url, "--attempts", "2", "--body", '{"order_id": "{key}", "by": 1}')
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    with watching(tmp_path, *words, "--secret-file", str(secret), secret="", LAPSE_TIMER=server.url) as watcher:
        shop.set("nick_1001", "x", px=100)
        wait_until(lambda: watcher.said("claims buried"))
        (listed,) = answer("buried", "list", server.url, "--prefix", "nick_")
        assert (listed["key"], listed["attempt"]) == ("1001", 2)
        assert listed["reason"].startswith("500")
        receiver.otherwise = (200, {})
        assert answer("buried", "retry", server.url, "--prefix", "nick_") == {"revived": 1}
        wait_until(lambda: watcher.said("batch handled"))
    assert len(receiver.calls) == 3
    assert {call.text for call in receiver.calls} == {'{"order_id":"1001","by":1}'}
    assert "LAPSE_TIMER" not in watcher.log.read_text()
    (failed,) = watcher.said("handler failed")
    assert "attempt 1 of 2" in failed["reason"]


def test_it_waits_for_a_redis_that_is_not_there_yet(redis_binary: Path, receiver: Receiver, tmp_path: Path) -> None:
    """The order in which things are started does not matter."""
    with RedisServer(binary=redis_binary) as server:
        server.stop()
        watcher = Watcher(tmp_path, server.url, "--prefix", "nick_", "--post", receiver.url + f"?key={PASSWORD}")
        wait_until(lambda: watcher.said("timer away"))
        server.start()
        watcher.begin()
        server.ask("SET", "nick_1", "x", "PX", 50)
        receiver.wait_for(1)
        watcher.end()
    assert receiver.keys == ["1"]
    assert receiver.url in str(watcher.said("watching keys"))
    assert PASSWORD not in watcher.log.read_text()


POST = ("--post", "http://127.0.0.1:1/")
SAID = [
    (("redis://127.0.0.1:1/0", "--prefix", "nick_", "--post", "http://shop.example/"), SECRET, 2, "--insecure-http"),
    (("redis://127.0.0.1:1/0", "--prefix", "", *POST), SECRET, 2, "prefix"),
    (("redis://127.0.0.1:1/0", "--prefix", "nick_", *POST), "", 2, "openssl rand"),
    (("redis://127.0.0.1:1/0", "--prefix", "nick_", *POST), "c2hvcnQ=", 2, "at least 24"),
    (("redis://127.0.0.1:1/0", "--prefix", "nick_", *POST, "--unsigned"), SECRET, 2, "--unsigned"),
    (("redis://127.0.0.1:1/0", "--prefix", "nick_", *POST, "--secret-file", "/no/such"), "", 2, "/no/such"),
    (("redis://127.0.0.1:1/0", "--prefix", "nick_", *POST, "--body", "order={key}"), SECRET, 2, "template"),
    (("redis+cluster://127.0.0.1:1", "--prefix", "nick_", *POST), SECRET, 2, "cluster"),
    (("postgresql://127.0.0.1/shop", "--prefix", "nick_", *POST), SECRET, 2, "redis://"),
    (("redis://127.0.0.1:1/0", *POST), SECRET, 2, "--prefix"),
    (("redis://[::1", "--prefix", "nick_", *POST), SECRET, 2, "%5B"),
    ((f"redis://:{PASSWORD}]@127.0.0.1:1/0", "--prefix", "nick_", *POST), SECRET, 2, "%5D"),
    ((f"redis://:[{PASSWORD}]@127.0.0.1:1/0", "--prefix", "nick_", *POST), SECRET, 2, "%5D"),
    ((f"redis://:{PASSWORD}/more@127.0.0.1:1/0", "--prefix", "nick_", *POST), SECRET, 2, "%2F"),
    ((f"redis+sentinel://:{PASSWORD}/more@127.0.0.1:1/0", "--prefix", "nick_", *POST), SECRET, 2, "%2F"),
    ((f":{PASSWORD}@127.0.0.1:1/0", "--prefix", "nick_", *POST), SECRET, 2, "redis://"),
    (("redis://127.0.0.1:1/0?decode_responses=1", "--prefix", "nick_", *POST), SECRET, 2, "decode_responses"),
    (("redis://127.0.0.1:1/0", "--prefix", "nick\udcff_", *POST), SECRET, 2, "UTF-8"),
    (("redis://127.0.0.1:1/0", "--prefix", "n", "--post", f"u:{PASSWORD}@shop.example/x"), SECRET, 2, "https://"),
    (("redis://127.0.0.1:1/0", "--prefix", "n", "--post", f"https://u:{PASSWORD}/@shop.example/"), SECRET, 2, "port"),
]


@pytest.mark.parametrize(("words", "secret", "code", "said"), SAID, ids=[str(number) for number in range(len(SAID))])
def test_settings_that_are_refused(words: tuple[str, ...], secret: str, code: int, said: str) -> None:
    """Wrong input is exit code 2 and one message, which shows no secret."""
    done = run_here("watch", *words, **({"LAPSE_WEBHOOK_SECRET": secret} if secret else {}))
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not secret or secret not in done.stderr
    assert PASSWORD not in done.stderr


def test_refused_where_redis_must_be_told_first(redis_binary: Path, receiver: Receiver) -> None:
    """Where events are off and may not be switched on, it is exit code 1, with the line to add."""
    with RedisServer(binary=redis_binary, config={"rename-command": "CONFIG ''"}) as server:
        done = lapse("watch", server.url, "--prefix", "nick_", "--post", receiver.url, LAPSE_WEBHOOK_SECRET=SECRET)
    assert done.returncode == 1, done.stderr
    assert "notify-keyspace-events" in done.stderr or "CONFIG" in done.stderr
