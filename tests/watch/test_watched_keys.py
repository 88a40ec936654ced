"""The ledger says what the shop's keys say, on every Redis there is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import redis

from lapse import Claim, ConfigError, Kind, TimerRefused, open_timer
from lapse.config import NAME
from lapse.testing.faults import Proxy
from lapse.testing.servers import RedisServer
from lapse.timers.redis.notifications import announced_flags
from lapse.watch.key_changes import EXPIRED
from lapse.watch.key_scan import glob
from lapse.watch.ledger_name import ledger_name
from lapse.watch.watched_keys import WatchedKeys, open_watch
from tests.engine.running import Recorder, wait_until

_numbers = count()
LONG = timedelta(seconds=30)


@pytest.fixture(scope="module")
def server(redis_binary: Path) -> Iterator[RedisServer]:
    """Start each Redis and Valkey in turn."""
    with RedisServer(binary=redis_binary) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """Return a prefix that no other test has, with characters that mean something to Redis."""
    return f"nick[{next(_numbers)}]*_"


@contextmanager
def watching(url: str, prefix: str, *, ids: str = "") -> Iterator[tuple[WatchedKeys, list[Claim], Recorder]]:
    """Watch beside the test; what fires is settled and listed. It begins once all keys were looked at."""
    recorder, fired, stop = Recorder(), list[Claim](), threading.Event()
    with open_watch(url, prefix=prefix, ids=ids, hooks=(recorder,)) as timer:

        def work() -> None:
            while not stop.is_set():
                claims = timer.claim(100, wait=timedelta(seconds=5))
                fired.extend(claims)
                timer.settle(claims)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            wait_until(lambda: scans(recorder))
            yield timer, fired, recorder
        finally:
            stop.set()
            timer.wake()
            thread.join(60)
            assert not thread.is_alive()


def scans(recorder: Recorder) -> list[int]:
    """How many keys each look at all has found."""
    return [event.count for event in recorder.of(Kind.LEARNT) if not event.reason]


def pending(timer: WatchedKeys) -> int:
    """How many deadlines are armed."""
    return timer.stats().pending


def due_at(server: RedisServer, prefix: str) -> dict[str, int]:
    """Read the ledger: key and due, ms since 1970."""
    with redis.Redis.from_url(server.url) as client:
        found = client.zrange(f"lapse:{{{ledger_name(prefix)}:0}}:pending", 0, -1, withscores=True)
    return {key.decode(): int(score) for key, score in found}


def now_ms() -> int:
    """Return the time, for the server runs on this machine."""
    return int(datetime.now(UTC).timestamp() * 1000)


def test_setex_arms_and_fires_on_time(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """A key that expires fires once, after its time; one that is set before the watcher began does, too."""
    shop.set(prefix + "before", "x", px=1500)
    with watching(server.url, prefix) as (_, fired, recorder):
        assert set(scans(recorder)) == {1}
        server.ask("SETEX", prefix + "1001", 1, "x")
        server.ask("SETEX", "nick_other", 1, "x")
        server.ask("SETEX", prefix.replace("*", "x") + "9", 1, "x")
        wait_until(lambda: len(fired) == 2)
        threading.Event().wait(0.5)
    assert sorted(claim.key for claim in fired) == ["1001", "before"]
    assert all(claim.late_by >= timedelta(0) for claim in fired)


def test_hashes_that_expire_are_followed(server: RedisServer, shop: redis.Redis) -> None:
    """HSET, then EXPIRE, as the second article's shop does."""
    prefix = "client:user:info:order:"
    with watching(server.url, prefix) as (_, fired, _heard):
        shop.hset(prefix + "7", mapping={"price": "3", "state": "unpaid"})
        shop.pexpire(prefix + "7", 300)
        wait_until(lambda: [claim.key for claim in fired] == ["7"])


def test_what_moves_and_disarms(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """SETEX, EXPIRE, GETEX and RENAME move a deadline; DEL, UNLINK, PERSIST, plain SET and GETDEL take it away."""
    with watching(server.url, prefix) as (timer, fired, _):
        keys = [f"{number}" for number in range(10)]
        for key in keys:
            shop.set(prefix + key, "x", ex=1000)
        wait_until(lambda: pending(timer) == 10)
        shop.delete(prefix + "0")
        shop.unlink(prefix + "1")
        shop.persist(prefix + "2")
        shop.set(prefix + "3", "y")
        shop.getdel(prefix + "4")
        server.ask("SETEX", prefix + "5", 2000, "y")
        shop.expire(prefix + "6", 3000)
        shop.getex(prefix + "7", ex=4000)
        shop.rename(prefix + "8", prefix + "eight")
        shop.set(prefix + "9", "y", keepttl=True)
        wait_until(lambda: sorted(due_at(server, prefix)) == ["5", "6", "7", "9", "eight"])
        ledger = due_at(server, prefix)
        for key in ledger:
            left = shop.pttl(prefix + key)
            # The key lives up to and with its millisecond; what is left was read a little later.
            assert 0 <= ledger[key] - (now_ms() + left) + 2000 <= 2003, key
        assert not fired


def test_a_key_without_an_end_never_fires(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """What never expires is no order that waits."""
    shop.set(prefix + "1", "x")
    with watching(server.url, prefix) as (timer, fired, _):
        shop.set(prefix + "2", "x")
        shop.set(prefix + "3", "x", px=200)
        wait_until(lambda: len(fired) == 1)
        assert pending(timer) == 0
    assert fired[0].key == "3"


def test_what_expired_while_nobody_watched_fires(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """After an absence: what expired fires, what was deleted does not, what was moved waits, what is new is learnt."""
    with watching(server.url, prefix) as (timer, fired, _):
        shop.set(prefix + "expired", "x", px=2500)
        for key in ("deleted", "moved", "kept", "persisted"):
            shop.set(prefix + key, "x", ex=1000)
        shop.set(prefix + "postponed", "x", px=2500)
        wait_until(lambda: pending(timer) == 6)
        assert not fired
    shop.delete(prefix + "deleted")
    shop.expire(prefix + "moved", 2000)
    shop.expire(prefix + "postponed", 2000)
    shop.persist(prefix + "persisted")
    shop.set(prefix + "new", "x", ex=1000)
    wait_until(lambda: not shop.exists(prefix + "expired"))
    threading.Event().wait(0.5)
    with watching(server.url, prefix) as (_, fired, recorder):
        assert set(scans(recorder)) == {5}
        wait_until(lambda: [claim.key for claim in fired] == ["expired"])
        assert sorted(due_at(server, prefix)) == ["kept", "moved", "new", "postponed"]
        assert due_at(server, prefix)["moved"] > now_ms() + 1_500_000


def test_a_connection_that_breaks_loses_nothing(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """What happens while the watcher cannot reach the server is found out afterwards."""
    with Proxy(server.port) as proxy, open_watch(f"redis://127.0.0.1:{proxy.port}/0", prefix=prefix) as timer:
        fired: list[str] = []
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                try:
                    claims = timer.claim(100, wait=timedelta(seconds=1))
                    fired.extend(claim.key for claim in claims)
                    timer.settle(claims)
                except Exception:  # noqa: BLE001 - as the deliveries do, it waits and goes on
                    stop.wait(0.05)

        thread = threading.Thread(target=work)
        thread.start()
        shop.set(prefix + "1", "x", ex=1000)
        shop.set(prefix + "2", "x", px=1500)
        wait_until(lambda: set(due_at(server, prefix)) == {"1", "2"})
        proxy.cut()
        shop.delete(prefix + "1")
        shop.set(prefix + "3", "x", px=1800)
        shop.set(prefix + "4", "x", ex=1000)
        wait_until(lambda: not shop.exists(prefix + "2"))
        proxy.restore()
        wait_until(lambda: sorted(fired)[:1] == ["2"])
        wait_until(lambda: set(due_at(server, prefix)) == {"4"})
        # Whether "3" was seen before it expired depends on how long the reconnection took: if it was, it fires.
        assert "1" not in fired
        stop.set()
        timer.wake()
        thread.join(60)


def test_all_watchers_hear_and_one_fires(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """However many watch, each order fires once, also where the event comes when the order is long settled."""
    with (
        watching(server.url, prefix) as (one, first, _),
        watching(server.url, prefix) as (_, second, _),
        watching(server.url, prefix) as (_, third, _),
    ):
        pipeline = shop.pipeline(transaction=False)
        for number in range(300):
            pipeline.set(f"{prefix}{number}", "x", px=500 + number)
        pipeline.execute()
        wait_until(lambda: len(first) + len(second) + len(third) >= 300)
        one.learn({str(number): EXPIRED for number in range(300)})  # an event that was under way for long
        threading.Event().wait(1)
        fired = first + second + third
    assert sorted(int(claim.key) for claim in fired) == list(range(300))
    assert all(claim.late_by >= timedelta(0) for claim in fired)


def test_an_expiry_that_was_never_learnt_of_fires(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """The event of a key that the ledger does not know is enough; and no more than once."""
    with watching(server.url, prefix) as (timer, fired, _):
        for _ in range(3):
            timer.learn({"unknown": EXPIRED})
            wait_until(lambda: len(fired) == 1)
        shop.set(prefix + "brief", "x", px=1)
        wait_until(lambda: len(fired) == 2)
    assert [claim.key for claim in fired] == ["unknown", "brief"]


def test_an_order_set_again_fires_again(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """A key that comes back is another deadline."""
    with watching(server.url, prefix) as (_, fired, _heard):
        for times in (1, 2):
            shop.set(prefix + "1", "x", px=100)
            wait_until(lambda times=times: len(fired) == times)  # type: ignore[misc] # a default binds it


@pytest.mark.usefixtures("shop")
def test_what_waits_to_be_tried_again_waits(server: RedisServer, prefix: str) -> None:
    """Neither a late event nor a look at all disturbs a delivery that waits for its next try, nor a burial."""
    with open_watch(server.url, prefix=prefix, hooks=()) as timer:
        for key in ("later", "never"):
            timer.learn({key: EXPIRED})
        later, never = sorted(timer.claim(wait=LONG), key=lambda claim: claim.key)
        timer.release([later], delay=timedelta(hours=1))
        timer.bury([never], reason="hopeless")
    with watching(server.url, prefix) as (timer, fired, _):
        timer.learn({"later": EXPIRED, "never": EXPIRED})
        assert (pending(timer), timer.stats().buried) == (1, 1)
        assert due_at(server, prefix)["later"] > now_ms() + 3_000_000
        assert not fired
        with open_timer(server.url, name=ledger_name(prefix)) as ledger:
            assert ledger.revive(["never"]) == 1
        wait_until(lambda: [claim.key for claim in fired] == ["never"])


def test_an_evicted_key_leaves_its_deadline(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """Memory that runs short takes keys away before their time; their orders are cancelled in time all the same."""
    with watching(server.url, prefix) as (timer, fired, _):
        for number in range(100):
            shop.set(f"{prefix}{number}", "x" * 10_000, px=4000)
        wait_until(lambda: pending(timer) == 100)
        shop.config_set("maxmemory-policy", "volatile-random")
        shop.config_set("maxmemory", shop.info("memory")["used_memory"] - 300_000)
        shop.set("some", "thing")
        shop.config_set("maxmemory", 0)
        gone = shop.info("stats")["evicted_keys"]
        assert gone > 0
        timer._on_connect()
        wait_until(lambda: len(fired) == 100)
    assert all(claim.late_by >= timedelta(0) for claim in fired)
    shop.config_resetstat()


def test_names_that_no_timer_could_keep_are_told_of(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """Bytes that are no text, and what is too long, are said once; the others go on."""
    with watching(server.url, prefix) as (_, fired, recorder):
        for _ in range(3):
            shop.set(prefix.encode() + b"\xff\xfe", "x", px=50)
            shop.set(prefix + "x" * 600, "x", px=50)
            shop.set(prefix, "x", px=50)
        shop.set(prefix + "订单", "x", px=50)
        wait_until(lambda: [claim.key for claim in fired] == ["订单"])
        told = [event.reason for event in recorder.of(Kind.UNFIT) if "cannot be tracked" in event.reason]
    assert len(told) == 3


def test_other_databases_are_other_shops(server: RedisServer, shop: redis.Redis, prefix: str) -> None:
    """The database of the URL is the one that is watched."""
    url = server.url.removesuffix("/0") + "/3"
    with watching(url, prefix) as (_, fired, _heard), redis.Redis.from_url(url) as third:
        shop.set(prefix + "zero", "x", px=50)
        third.set(prefix + "three", "x", px=200)
        wait_until(lambda: fired)
        wait_until(lambda: not shop.exists(prefix + "zero"))
    assert [claim.key for claim in fired] == ["three"]


def test_events_switched_off_are_switched_on_and_what_was_missed_is_found(
    server: RedisServer, shop: redis.Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags of others stay; a user who switches ours off later is noticed; that is reported and undone."""
    monkeypatch.setattr("lapse.watch.key_tracker.CHECK_EVERY", 0.2)
    shop.config_set("notify-keyspace-events", "El")
    with watching(server.url, prefix) as (timer, _, recorder):
        assert {"E", "l", "K", "g", "$", "x"} <= set(announced_flags(shop))
        shop.config_set("notify-keyspace-events", "")
        shop.set(prefix + "1", "x", ex=1000)
        wait_until(lambda: pending(timer) == 1)
        told = [event.reason for event in recorder.of(Kind.UNFIT)]
    assert len(told) >= 2
    assert "redis.conf" in told[0]


def test_refused_where_nothing_is_announced_and_it_may_not_be_set(redis_binary: Path) -> None:
    """The message has the line to add, with the flags that others need."""
    with RedisServer(binary=redis_binary, config={"notify-keyspace-events": "Ex"}) as server:
        server.ask("ACL", "SETUSER", "shop", "on", ">pw", "~*", "&*", "+@all", "-config", "+config|get")
        url = server.url.replace("://", "://shop:pw@")
        with (
            open_watch(url, prefix="nick_") as timer,
            pytest.raises(TimerRefused, match=r"notify-keyspace-events [xE]{2}Kg\$"),
        ):
            timer.claim(wait=LONG)


@pytest.mark.parametrize("url", ["redis+cluster://127.0.0.1:1/0", "redis:///0", "redis+expiry://127.0.0.1/0", "nick"])
def test_what_cannot_be_watched(url: str) -> None:
    """A cluster, another mechanism, and what is no address, are refused before anything is done."""
    with pytest.raises(ConfigError):
        open_watch(url, prefix="nick_")


def test_every_prefix_has_a_ledger_of_its_own() -> None:
    """Names are stable, permitted and different, however alike the prefixes are."""
    assert ledger_name("nick_") == "watch.nick_"
    assert ledger_name("client:user:info:order:") == "watch.client.3Auser.3Ainfo.3Aorder.3A"
    alike = ["a:", "a.3A", "a.", "A:", "订单:", "x" * 94, "x" * 95, "x" * 96, ":" * 40, ":" * 41]
    names = [ledger_name(prefix) for prefix in alike]
    assert len(set(names)) == len(alike)
    assert all(NAME.fullmatch(name) for name in names)
    with pytest.raises(ConfigError, match="prefix"):
        ledger_name("")


def test_a_pattern_matches_its_prefix_only() -> None:
    """Every character of a prefix stands for itself."""
    assert glob(b"a*?[b]\\^-c") == b"a\\*\\?\\[b\\]\\\\^-c*"
