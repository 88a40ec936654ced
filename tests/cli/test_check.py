"""`lapse check` on real servers of each version: what it finds, reports and fixes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from lapse.testing.faults import Proxy
from lapse.testing.servers import RedisServer
from lapse.timers.redis.permissions import queue_commands
from tests.cli.running import run_here
from tests.engine.running import wait_until

SOURCES = Path(__file__).parents[2] / "src" / "lapse"
SETTING = "notify-keyspace-events"
WATCH = ("--prefix", "nick_")


@pytest.fixture(scope="module")
def server(redis_binary: Path) -> Iterator[RedisServer]:
    """Start each Redis and Valkey in turn."""
    with RedisServer(binary=redis_binary) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """Connect to it, set up as Redis is by default."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.config_set(SETTING, "")
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        yield client


def check(url: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Check and give the exit code and what was said as JSON."""
    done = run_here("check", url, *words, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def bad(found: dict[str, Any]) -> list[str]:
    """The findings that are to be fixed."""
    return [finding["text"] for finding in found["findings"] if not finding["fit"]]


def said(found: dict[str, Any], word: str) -> str:
    """The one finding that has this word."""
    (text,) = [finding["text"] for finding in found["findings"] if word in finding["text"]]
    return str(text)


def flags(client: redis.Redis) -> set[str]:
    """What the server announces."""
    return set(str(client.config_get(SETTING)[SETTING]))


@pytest.mark.usefixtures("client")
def test_a_server_as_it_comes_is_fit_for_the_queue(server: RedisServer) -> None:
    """All is said that there is to be known, and the lines that other uses would need."""
    code, found = check(server.url)
    assert (code, found["fit"], found["pending"]) == (0, True, 0)
    assert said(found, "cluster").startswith(f"{server.name} {server.version}, ")
    assert f"{SETTING} Ex" in said(found, SETTING)
    assert f"{SETTING} Kg$x" in said(found, SETTING)
    assert "a crash loses every deadline" in said(found, "appendonly no")
    assert "give or take" in said(found, "clock")
    assert said(found, "everything that is needed")
    assert said(found, "never evicted")


@pytest.mark.parametrize(("scheme", "words", "needed"), [("redis", WATCH, "Kg$x"), ("redis+expiry", (), "Ex")])
def test_events_that_are_off_and_the_line_to_add(
    server: RedisServer, client: redis.Redis, scheme: str, words: tuple[str, ...], needed: str
) -> None:
    """Without events it is exit code 1 with the line, and nothing is changed; --fix sets them and takes none away."""
    url = server.url.replace("redis", scheme, 1)
    client.config_set(SETTING, "El")
    code, found = check(url, *words)
    assert (code, found["fit"]) == (1, False)
    (text,) = bad(found)
    line = text.rsplit(": ", 1)[1]
    assert line.startswith(f"{SETTING} ")
    assert set(needed) | {"E", "l"} == set(line.split()[1])
    assert flags(client) == {"E", "l"}
    code, found = check(url, *words, "--fix")
    assert (code, found["fit"]) == (0, True)
    assert "redis.conf" in said(found, "until Redis is restarted")
    assert flags(client) == set(needed) | {"E", "l"}
    assert check(url, *words)[0] == 0


@pytest.mark.parametrize(("scheme", "words"), [("redis", ()), ("redis", WATCH), ("redis+expiry", ())])
def test_a_check_leaves_nothing_behind(
    server: RedisServer, client: redis.Redis, scheme: str, words: tuple[str, ...]
) -> None:
    """A name or a prefix that was mistyped, or tried, is nowhere on the server afterwards."""
    client.config_set(SETTING, "KEA")
    code, found = check(server.url.replace("redis", scheme, 1), *words)
    assert (code, found["pending"]) == (0, 0)
    assert client.dbsize() == 0


def test_events_that_may_not_be_set(server: RedisServer, client: redis.Redis) -> None:
    """A user who may not set the flags is shown what an operator must do."""
    rights = ["+@all", "-config", "+config|get"]
    client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", *rights)  # type: ignore[no-untyped-call] # no types
    code, found = check(server.url.replace("://", "://reader:pw@"), *WATCH, "--fix")
    assert code == 1
    assert any(
        "redis.conf and restart, or run CONFIG SET with the same words" in one and f": {SETTING} " in one
        for one in bad(found)
    )


@pytest.mark.parametrize(
    ("policy", "words", "fit"),
    [
        ("noeviction", WATCH, True),
        ("volatile-lru", (), True),
        ("volatile-lru", WATCH, False),
        ("allkeys-lru", (), False),
        ("allkeys-lru", WATCH, False),
    ],
)
def test_eviction(server: RedisServer, client: redis.Redis, policy: str, words: tuple[str, ...], *, fit: bool) -> None:
    """A policy that evicts is unfit where it can take what counts, as soon as memory is limited."""
    client.config_set(SETTING, "KA")
    client.config_set("maxmemory-policy", policy)
    assert check(server.url, *words)[0] == 0
    client.config_set("maxmemory", 500_000_000)
    code, found = check(server.url, *words)
    assert (code == 0, not any("noeviction" in text for text in bad(found))) == (fit, fit)


def test_rights_that_are_missing(server: RedisServer, client: redis.Redis) -> None:
    """Each command, key and channel that a user lacks is named, and looking changes nothing."""
    client.config_set(SETTING, "KA")
    every = ["on", ">pw", "+@all"]
    users = {
        "mute": ([*every, "~*", "&*", "-zadd", "-psubscribe"], {"ZADD", "PSUBSCRIBE"}),
        "blind": ([*every, "~lapse:*", "&*"], {"PTTL"}),
        "deaf": ([*every, "~*", "resetchannels"], {"SUBSCRIBE", "PUBLISH", "PSUBSCRIBE"}),
    }
    for user, (rules, missing) in users.items():
        client.execute_command("ACL", "SETUSER", user, *rules)  # type: ignore[no-untyped-call] # no types
        code, found = check(server.url.replace("://", f"://{user}:pw@"), *WATCH)
        assert code == 1
        assert set(said(found, "may not").split(": ")[1].split(";")[0].split(", ")) == missing
    assert client.dbsize() == 0


@pytest.mark.parametrize("right", ["multi", "discard"])
def test_a_user_that_cannot_be_asked_about(server: RedisServer, client: redis.Redis, right: str) -> None:
    """Where a transaction cannot be begun or discarded that is what is said, and nothing of it is run."""
    client.config_set(SETTING, "KA")
    client.execute_command("ACL", "SETUSER", right, "on", ">pw", "~*", "&*", "+@all", f"-{right}")  # type: ignore[no-untyped-call] # no types
    client.zadd("lapse:{watch.nick_:0}:pending", {"1001": 1})
    url = server.url.replace("://", f"://{right}:pw@")
    for words in ((), WATCH):
        code, found = check(url, *words)
        assert code == 1
        assert "MULTI and DISCARD" in said(found, "may not")
        assert said(found, "never evicted")
    assert client.keys() == [b"lapse:{watch.nick_:0}:pending"]
    assert client.zrange("lapse:{watch.nick_:0}:pending", 0, -1) == [b"1001"]


def test_all_that_the_scripts_do_is_asked_about() -> None:
    """Every command of every script is among those that are checked."""
    sources = "".join(path.read_text() for path in SOURCES.rglob("lua/*.lua"))
    used = {part.split("'")[1] for part in sources.replace("redis.pcall", "redis.call").split("redis.call(")[1:]}
    asked = {str(command[0]) for command in queue_commands("key", "channel")}
    assert used - asked == {"PEXPIRETIME", "PTTL"}  # for watched keys only; the first may be missing


def test_clocks_that_differ(server: RedisServer, client: redis.Redis) -> None:
    """A server whose clock is years ahead is unfit for deadlines, and does not matter to times to live."""
    client.config_set(SETTING, "KA")
    with Proxy(server.port) as proxy:
        now = str(int(time.time()))
        later = str(int(now[:3]) + 5)
        proxy.alter(b"$10\r\n" + now[:3].encode(), b"$10\r\n" + later.encode())
        url = f"redis://127.0.0.1:{proxy.port}/0"
        code, found = check(url)
        assert code == 1
        assert "NTP" in said(found, "clock is")
        assert "ahead of" in said(found, "clock is")
        code, found = check(url, *WATCH)
        assert code == 0
        assert "time to live" in said(found, "clock is")


def test_a_provider_that_has_no_config(redis_binary: Path) -> None:
    """Where no user may read the setting, the events are tried out."""
    settings = {"rename-command": 'CONFIG ""'}
    with RedisServer(binary=redis_binary, config={**settings, SETTING: "AK"}) as server:
        code, found = check(server.url, *WATCH)
        assert (code, bad(found)) == (0, [])
        assert "tried out" in said(found, SETTING)
    with RedisServer(binary=redis_binary, config={**settings, SETTING: "Ex"}) as server:
        code, found = check(server.url, *WATCH)
        assert code == 1
        assert f"in the provider's console: {SETTING} Kg$x" in bad(found)[0]


def test_a_node_of_a_cluster_is_unfit_for_watched_keys(redis_binary: Path) -> None:
    """What `lapse watch` refuses is not found fit, and for the queue it is as fit as before."""
    with RedisServer(binary=redis_binary, config={"cluster-enabled": "yes", SETTING: "KA"}) as server:
        server.ask("CLUSTER", "ADDSLOTS", *range(16_384))
        wait_until(lambda: "cluster_state:ok" in str(server.ask("CLUSTER", "INFO")))
        code, found = check(server.url, *WATCH)
        assert (code, bad(found)) == (1, [said(found, "a node of a cluster")])
        assert "cannot be watched" in bad(found)[0]
        assert check(server.url)[0] == 0


def test_what_a_crash_loses(redis_binary: Path) -> None:
    """With an append-only file it is a second, with snapshots what came after the last."""
    with RedisServer(binary=redis_binary, appendonly=True) as server:
        assert "last second" in said(check(server.url)[1], "appendonly yes")
    with RedisServer(binary=redis_binary, config={"save": "60 1000"}) as server:
        assert "last snapshot" in said(check(server.url)[1], "appendonly no")


def test_what_cannot_be_looked_at_is_neither_ok_nor_bad() -> None:
    """An operator read "ok   not checked", and took it for good news."""
    done = run_here("check", "memory://")
    assert done.returncode == 0
    assert "--   not checked: whether a timer is named 'orders'\n" in done.stdout
    found = json.loads(run_here("check", "memory://", "--json").stdout)["findings"]
    assert [finding["text"] for finding in found if not finding["checked"]] == ["whether a timer is named 'orders'"]
