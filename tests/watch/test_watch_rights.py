"""What the page says to set up before keys can be watched: a user of Redis, on every one there is, and a service."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from lapse.testing.servers import RedisServer
from tests.engine.running import wait_until
from tests.watch.programs import LAPSE, SECRET, environment
from tests.watch.test_watched_keys import watching

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "replace-order-monitor.md"
WATCH = ("--prefix", "nick_")


@pytest.fixture(scope="module")
def server(redis_binary: Path) -> Iterator[RedisServer]:
    """Start each Redis and Valkey in turn, which announces what is needed."""
    with RedisServer(binary=redis_binary, config={"notify-keyspace-events": "Kg$x"}) as server:
        yield server


def user(server: RedisServer, *without: str) -> str:
    """Make the documented user, but for some of its rights. Returns the address with it."""
    (line,) = re.findall(r"^ACL SETUSER .+$", PAGE.read_text(), re.MULTILINE)
    _, _, name, *rules = line.split()
    assert set(without) <= set(rules)
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.execute_command("ACL", "SETUSER", name, "reset", *(rule for rule in rules if rule not in without))
    return server.url.replace("://", f"://{name}:password@")


def check(url: str) -> tuple[int, list[dict[str, Any]]]:
    """Run `lapse check`. Gives the exit code and the findings."""
    done = subprocess.run(
        [LAPSE, "check", url, *WATCH, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment(),
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["findings"]


@pytest.mark.parametrize("without", [(), ("+config|get",)], ids=["as it is", "without CONFIG"])
def test_the_documented_user_watches(server: RedisServer, without: tuple[str, ...]) -> None:
    """The rights that the page names are enough to be found fit, and to deliver."""
    url = user(server, *without)
    assert check(url)[0] == 0
    with watching(url, "nick_") as (_, fired, _heard):
        server.ask("SET", "nick_1", "x", "PX", 100)
        wait_until(lambda: [claim.key for claim in fired] == ["1"])


def test_events_that_may_not_be_looked_up_nor_tried_out(server: RedisServer) -> None:
    """The message says what to permit, and the other findings are there."""
    url = user(server, "+config|get", "&__keyspace@0__:lapse:*")
    code, findings = check(url)
    assert code == 1
    (bad,) = [finding["text"] for finding in findings if not finding["fit"]]
    assert "permit CONFIG GET to this user. Add this line to redis.conf" in bad
    assert bad.endswith(": notify-keyspace-events Kg$x")
    assert any("never evicted" in finding["text"] for finding in findings)
    done = subprocess.run(
        [LAPSE, "watch", url, *WATCH, "--post", "http://127.0.0.1:1/"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment(LAPSE_WEBHOOK_SECRET=SECRET),
    )
    assert done.returncode == 1
    assert "Permit CONFIG GET to this user" in done.stderr.splitlines()[-1]


def test_the_documented_service_is_one() -> None:
    """Systemd takes a comment behind a value as part of it: each stands on a line of its own."""
    unit = PAGE.read_text().split("```ini\n", 1)[1].split("```", 1)[0]
    settings = [line for line in unit.splitlines() if line and line[0] not in "#["]
    assert len(settings) > 5
    assert all(re.fullmatch(r"[A-Za-z]+=[^#]+", line) for line in settings)
