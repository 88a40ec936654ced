"""A watcher whose prefix matches no key reports that, and what there is instead, on every Redis there is."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lapse import ConfigError
from lapse.engine.events import Kind
from lapse.testing.servers import RedisServer
from lapse.watch.watched_keys import open_watch
from tests.cli.running import run_here
from tests.each_redis import each_redis
from tests.engine.running import wait_until
from tests.watch.programs import watching as watching_process
from tests.watch.test_watched_keys import watching

YEARS = 54_000 * 365 * 86_400_000
"""A time to live of 54,000 years, in milliseconds."""


@pytest.fixture(scope="module", params=each_redis())
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Start each Redis that this machine has, which sends the needed events."""
    with RedisServer(binary=request.param, config={"notify-keyspace-events": "Kg$x"}) as server:
        yield server


def other(server: RedisServer, database: int) -> redis.Redis:
    """Return a client of another database."""
    return redis.Redis.from_url(server.url.removesuffix("/0") + f"/{database}")


def reported(server: RedisServer, prefix: str = "nick_") -> str:
    """Watch until the first report that no key matches. Return it."""
    with watching(server.url, prefix) as (_, fired, recorder):
        wait_until(lambda: recorder.of(Kind.UNMATCHED))
        assert not fired
    (event,) = recorder.of(Kind.UNMATCHED)
    return event.reason


def checked(server: RedisServer, prefix: str = "nick_") -> tuple[int, str]:
    """Run `lapse check`. Return the exit code and the line about the keys with the prefix."""
    done = run_here("check", server.url, "--prefix", prefix)
    (line,) = [line for line in done.stdout.splitlines() if "with '" in line and "looks like a helper" not in line]
    return done.returncode, line


SIMILAR = [
    pytest.param(":1:nick_1001", "--prefix ':1:nick_'", "Django's cache", id="the cache of Django"),
    pytest.param(
        "app_cache:nick_1001", "--prefix 'app_cache:nick_'", "a client puts text", id="the prefix of a client"
    ),
    pytest.param("NICK_1001", "--prefix 'NICK_'", "case", id="another case"),
    pytest.param("{nick}_1001", "--prefix '{nick}_'", "separators", id="a hash tag"),
    pytest.param("nick:1001", "--prefix 'nick:'", "separators", id="another separator"),
    pytest.param("nikc_1001", "--prefix 'nikc_'", "spelling", id="a mistyped word"),
]


def test_c1_the_command_reports_it_in_its_log(server: RedisServer, shop: redis.Redis, tmp_path: Path) -> None:
    """`lapse watch` itself warns as soon as it has scanned the keys; nothing but its log is seen by an operator."""
    shop.set(":1:nick_1001", "x", ex=1000)
    words = (server.url, "--prefix", "nick_", "--post", "http://127.0.0.1:1/", "--id", r"\d+")
    with watching_process(tmp_path, *words) as watcher:
        wait_until(lambda: watcher.said("no key matches"), patience=60)
    (warning,) = watcher.said("no key matches")
    assert warning["level"] == "warning"
    assert "use --prefix ':1:nick_'" in warning["reason"]


@pytest.mark.parametrize(("name", "remedy", "reason"), SIMILAR)
def test_c1_similar_keys_are_named(server: RedisServer, shop: redis.Redis, name: str, remedy: str, reason: str) -> None:
    """Django's cache writes `:1:nick_1001`, and `--prefix nick_` matched nothing in silence: the prefix is named."""
    shop.set("session:9f8e7d", "x")
    shop.set(name, "x", ex=1000)
    text = reported(server)
    assert text.startswith("no key in database 0 begins with 'nick_'; 1 key is similar")
    assert all(part in text for part in (name, remedy, reason))
    code, line = checked(server)
    assert (code, line) == (1, f"BAD  {text}")
    shop.delete(name)
    text = reported(server)
    assert "'session:'" in text
    assert "9f8e7d" not in text  # what follows the first word may be a secret


def test_c1_text_before_the_prefix_that_differs_from_key_to_key(server: RedisServer, shop: redis.Redis) -> None:
    """`user:7:nick_1001`, one user each: the advice was one user's prefix, which leaves out all others."""
    for number in range(10, 20):
        shop.set(f"user:{number}:nick_{number}", "x", ex=1000)
    text = reported(server)
    assert "10 keys are similar, such as 'user:1" in text
    assert text.endswith("differs from key to key: use --prefix 'user:', and --id for the rest of an order's name")
    shop.flushdb()
    for letter in "abc":
        shop.set(f"{letter}:nick_1", "x", ex=1000)
    assert reported(server).endswith("one beginning for the names of all orders' keys is needed")


def test_c1_a_database_that_has_such_keys_is_named(server: RedisServer, shop: redis.Redis) -> None:
    """Another database has the keys, as they are or with a client's prefix: its number is named."""
    shop.set("cart:1", "x")
    with other(server, 3) as third, other(server, 5) as fifth:
        fifth.set("nothing", "x")
        third.set(":1:nick_1001", "x", ex=1000)
        text = reported(server)
        assert "similar in database 3, such as ':1:nick_1001'" in text
        assert "use --prefix ':1:nick_' and a URL that ends in /3" in text
        third.set("nick_1001", "x", ex=1000)
        assert "keys in database 3 do, such as 'nick_1001': the URL must end in /3" in reported(server)
        assert checked(server)[0] == 1
        third.flushdb()
        assert "of the other databases 5 has 1, none of them similar" in reported(server)
    assert shop.get("cart:1") == b"x"  # the connection of the watcher reads its own database again


def test_c1_an_empty_database_is_named_and_fit(server: RedisServer, shop: redis.Redis) -> None:
    """A shop that has no order yet is informed, and `lapse check` finds nothing to change."""
    assert "it has no key at all" in reported(server)
    assert checked(server) == (0, "ok   no key in database 0 begins with 'nick_'; it has no key at all")
    assert shop.dbsize() <= 10  # only the ledger's keys


def test_c1_keys_that_never_expire_are_named(server: RedisServer, shop: redis.Redis) -> None:
    """SET without a time to live: no order ever becomes due, and that is said with the commands to use."""
    shop.set("nick_1001", "x")
    text = reported(server)
    assert "1 key begins with 'nick_', such as 'nick_1001'" in text
    assert "has a time to live" in text
    assert "SETEX" in text
    assert checked(server)[0] == 1
    shop.set("nick_1002", "x", ex=100)
    code, line = checked(server)
    assert code == 0
    assert "2 keys begin with 'nick_'; of 2 that were read the last expires in 1 min" in line
    assert "and 1 never" in line


def test_c1_it_is_reported_again_and_not_for_ever(
    server: RedisServer, shop: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report comes again after a while, as long as nothing matches; a key that matches ends it."""
    monkeypatch.setattr("lapse.watch.unmatched.AGAIN_AFTER", (0.0, 0.3, 0.6))
    monkeypatch.setattr("lapse.watch.key_tracker.CHECK_EVERY", 0.05)
    shop.set(":1:nick_1", "x", ex=1000)
    with watching(server.url, "nick_") as (_, _fired, recorder):
        wait_until(lambda: len(recorder.of(Kind.UNMATCHED)) == 3)
        threading.Event().wait(1)
        assert len(recorder.of(Kind.UNMATCHED)) == 3
    with watching(server.url, "nick_") as (_, fired, recorder):
        wait_until(lambda: recorder.of(Kind.UNMATCHED))
        shop.set("nick_1", "x", px=50)
        wait_until(lambda: fired)
    assert len(recorder.of(Kind.UNMATCHED)) < 3


def test_c1_keys_that_match_cause_no_report(server: RedisServer, shop: redis.Redis) -> None:
    """A watcher that has work reports nothing, also beside similar keys."""
    shop.set(":1:nick_1001", "x", ex=1000)
    shop.set("nick_1001", "x", ex=1000)
    with watching(server.url, "nick_") as (_, _fired, recorder):
        wait_until(lambda: recorder.of(Kind.LEARNT))
    assert not recorder.of(Kind.UNMATCHED)


@pytest.mark.usefixtures("shop")
def test_c1_a_large_database_is_sampled(
    server: RedisServer, shop: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among many keys a part is read; the similar key is found by its longest word, and what was read is said."""
    monkeypatch.setattr("lapse.watch.key_search.MOST_NAMES", 1000)
    shop.mset({f"session:{number}": "x" for number in range(5000)})
    shop.set(":1:nick_1001", "x", ex=1000)
    assert "such as ':1:nick_1001'" in checked(server)[1]
    shop.delete(":1:nick_1001")
    monkeypatch.setattr("lapse.watch.key_search.MOST_SECONDS", 0.0)
    assert "that were read of 5,000" in checked(server)[1]


def test_c7_helper_keys_are_warned_of(server: RedisServer, shop: redis.Redis) -> None:
    """Helper keys beside the orders' (`order:1:phantom`) were POSTed as orders: the log names one, and the option."""
    shop.set("order:1", "x", ex=1000)
    shop.set("order:1:phantom", "x", ex=1300)
    with watching(server.url, "order:") as (_, _fired, recorder):
        wait_until(lambda: recorder.of(Kind.UNFIT))
    (event,) = recorder.of(Kind.UNFIT)
    assert "'order:1:phantom' looks like a helper of 'order:1'" in event.reason
    assert r"--id '\d+'" in event.reason
    assert "looks like a helper" in run_here("check", server.url, "--prefix", "order:").stdout


def test_c7_what_the_pattern_leaves_out_is_never_delivered(server: RedisServer, shop: redis.Redis) -> None:
    r"""With `--id '\d+'` helper keys are counted and never fire, also those that an earlier watcher has armed."""
    shop.set("order:1:lock", "x", px=1500)
    with watching(server.url, "order:") as (timer, fired, _):
        wait_until(lambda: timer.stats().pending == 1)
        assert not fired
    shop.set("order:2:lock", "x", ex=1000)
    with watching(server.url, "order:", ids=r"\d+") as (timer, fired, recorder):
        wait_until(lambda: recorder.of(Kind.UNMATCHED))  # no order is there yet
        shop.set("order:1", "x", px=1500)
        shop.set("order:1:phantom", "x", px=50)
        wait_until(lambda: fired)
        wait_until(lambda: timer.stats().pending == 0)
    assert [claim.key for claim in fired] == ["1"]
    assert "do not match --id" in recorder.of(Kind.UNMATCHED)[0].reason
    shop.set("order:3", "x", ex=1000)
    with watching(server.url, "order:", ids=r"\d+") as (_, _fired, recorder):
        (event,) = recorder.of(Kind.LEFT_OUT)
    assert event.count == 1
    assert event.reason == r"keys such as 'order:2:lock' are left out: their ids do not match --id '\\d+'"


def test_c7_check_reports_no_helper_that_the_pattern_leaves_out(server: RedisServer, shop: redis.Redis) -> None:
    """`lapse check` warned of helper keys that the watcher leaves out: by the same --id it says that they are."""
    shop.set("nick_1001", "x", ex=1000)
    shop.set("nick_1001:lock", "x", ex=1000)
    asked = ("check", server.url, "--prefix", "nick_")
    assert "looks like a helper" in run_here(*asked).stdout
    said = run_here(*asked, "--id", r"\d+").stdout
    assert "looks like a helper" not in said
    assert r"ok   keys such as 'nick_1001:lock' are left out: their ids do not match --id '\\d+'" in said
    for words in (("--id", r"\d+"), ("--prefix", "nick_", "--id", "(")):
        done = run_here("check", server.url, *words)
        assert done.returncode == 2
        assert "--id" in done.stderr


def test_c7_a_pattern_that_is_none_is_refused() -> None:
    """A pattern that is no regular expression is refused at the start, with an example."""
    with pytest.raises(ConfigError, match=r"regular expression, such as '\\d\+'"):
        open_watch("redis://127.0.0.1:1/0", prefix="order:", ids="(")


@pytest.mark.parametrize("ms", [YEARS, 9_000_000_000_000_000_000], ids=["54,000 years", "the longest time to live"])
def test_c8_milliseconds_given_as_seconds(server: RedisServer, shop: redis.Redis, ms: int) -> None:
    """A time to live of 54,000 years made `lapse stats` end with OverflowError: it is shown, and the watcher warns."""
    shop.set("nick_1001", "x", px=ms)
    with watching(server.url, "nick_") as (timer, _fired, recorder):
        wait_until(lambda: timer.stats().pending == 1)
        wait_until(lambda: recorder.of(Kind.UNFIT))
    assert "milliseconds given as seconds" in recorder.of(Kind.UNFIT)[0].reason
    done = run_here("stats", server.url, "--prefix", "nick_")
    assert (done.returncode, done.stderr) == (0, "")
    assert "after the year 9999" in done.stdout
    assert '"next_due": "9999-12-31T' in run_here("stats", server.url, "--prefix", "nick_", "--json").stdout
    code, line = checked(server)
    assert code == 1
    assert "milliseconds given as seconds" in line
