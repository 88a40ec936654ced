"""The two articles' shops, written as they have them, with `lapse watch` in the place of their listeners."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lapse.testing.servers import RedisServer
from tests.engine.running import wait_until
from tests.watch.programs import HERE, shop, watching


@pytest.fixture
def redis(redis_binary: Path) -> Iterator[RedisServer]:
    """Start the shop's Redis, set up as the first article says."""
    with RedisServer(binary=redis_binary, config={"notify-keyspace-events": "Ex"}) as server:
        yield server


def test_the_django_shop(redis: RedisServer, tmp_path: Path) -> None:
    """Unpaid orders are cancelled once, paid ones stay paid, and one that the shop does not know does no harm."""
    command: list[str | Path] = [
        sys.executable,
        HERE / "django_article.py",
        redis.url,
        tmp_path / "orders.sqlite3",
        "PORT",
        "2",
    ]
    with shop(tmp_path, command) as django:
        cancel = django.url + "/payment/cancel_order/"
        words = (redis.url, "--prefix", "nick_", "--post", cancel)
        with watching(tmp_path, *words) as watcher:
            for number in range(10):
                django.post("/payment/pay/", data={"out_trade_no": f"2026{number}"})
            ledger = "lapse:{watch.nick_:0}:pending"
            wait_until(lambda: int(str(redis.ask("ZCARD", ledger))) + len(watcher.said("batch handled")) == 10)
        # Most of these expire while no watcher runs.
        wait_until(lambda: not redis.ask("EXISTS", "nick_20269"))
        before = len(watcher.said("batch handled"))
        with watching(tmp_path, *words) as watcher:
            for number in range(10, 20):
                django.post("/payment/pay/", data={"out_trade_no": f"2026{number}"})
                if number == 10:  # at once, for its time is short
                    django.post("/payment/paid/", data={"out_trade_no": "202610"})
            redis.ask("SETEX", "nick_stranger", 1, "x")
            redis.ask("SETEX", "other_1", 1, "x")
            wait_until(lambda: len(watcher.said("batch handled")) == 20 - before)
            wait_until(lambda: watcher.said("delivery declined"))
        found = django.get("/orders/")
        answers = [django.post("/payment/cancel_order/", json={}).json(), django.get("/payment/cancel_order/")]
    assert found.pop("202610") == ["paid", 0]
    assert found == {f"2026{number}": ["cancelled", 1] for number in range(20) if number != 10}
    assert [answer["code"] for answer in answers] == [2, 1]
    assert [one["keys"] for one in watcher.said("delivery declined")] == [["stranger"]]
    assert all(one["earliest_ms"] >= 0 for one in watcher.said("batch handled"))
    # The article's flags are still there: its own listener would go on to receive events.
    assert {"E", "x"} <= set(redis.ask("CONFIG", "GET", "notify-keyspace-events")[1])  # type: ignore[index,arg-type] # two texts


def test_the_node_shop(redis: RedisServer, tmp_path: Path) -> None:
    """Hashes with a time to live: the order is cancelled, the stock is back, the statistics are right."""
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None or not (HERE.parents[1] / "node_modules" / "ioredis").exists():
        what = "no Node with ioredis: with npm on the path, rm .venv/dev.stamp and make test install it"
        if os.environ.get("CI"):
            pytest.fail(what)
        pytest.skip(what)
    prefix = "client:user:info:order:"
    with shop(tmp_path, [node, HERE / "nest_article.js", redis.url, "PORT", "1"]) as nest:
        words = (redis.url, "--prefix", prefix, "--post", nest.url + "/orders/expired")
        with watching(tmp_path, *words, "--body", '{"order": {"id": "{key}"}}'):
            for number in range(20):
                state = nest.post("/orders", json={"id": f"A{number}", "count": 2}).json()
            assert state["shop"]["stock"] <= 100 - 2  # the first may be back already
            wait_until(lambda: nest.get("/")["shop"]["statistics"]["cancelled"] == 20)
            state = nest.get("/")
    assert state["shop"] == {"stock": 100, "statistics": {"unpaid": 0, "cancelled": 20}}
    assert {order["status"] for order in state["orders"].values()} == {"cancel_payment"}
