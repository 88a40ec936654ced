"""No script is large, however many deadlines are due at once. A pending deadline takes little memory."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from lapse import Deadline, Timer, open_timer
from lapse.testing.conformance import LONG, ago, ahead
from lapse.testing.servers import RedisServer
from lapse.timers.redis.shards import SCRIPT_MEMBERS

MANY = 50_000
FEW = 5000


@pytest.fixture
def own(redis_binary: Path) -> Iterator[RedisServer]:
    """Start a server whose statistics come from this test only."""
    with RedisServer(
        binary=redis_binary, config={"slowlog-log-slower-than": "0", "slowlog-max-len": "100000"}
    ) as server:
        yield server


@pytest.fixture
def timer(own: RedisServer) -> Iterator[Timer]:
    """Open the one timer there."""
    with open_timer(own.url, name="orders") as timer:
        yield timer


def largest(server: RedisServer) -> int:
    """Return how many arguments the largest script call since the last look had, by the server's own log."""
    with redis.Redis(port=server.port) as client:
        entries = client.slowlog_get(100_000)
        client.slowlog_reset()
    most = 0
    for entry in entries:
        words = entry["command"].split(b" ")
        if words[0] not in (b"EVALSHA", b"EVAL"):
            continue
        # The log abbreviates long calls: "... (1970 more arguments)".
        more = int(words[-3].lstrip(b"(")) if words[-2:] == [b"more", b"arguments)"] else 0
        most = max(most, len(words) + more)
    return most


def test_no_script_is_large(own: RedisServer, timer: Timer) -> None:
    """With many due at once, and with any limit, each call names and takes a bounded number of members."""
    timer.arm([Deadline(f"{number:06}", ago(600)) for number in range(MANY)])
    bound = 2 * SCRIPT_MEMBERS + 80  # arm has two words for each member, the names of the keys, the start of the source
    assert SCRIPT_MEMBERS < largest(own) <= bound
    claims = timer.claim(FEW, lease=LONG)
    assert len(claims) == FEW
    assert len({claim.token for claim in claims}) == FEW // SCRIPT_MEMBERS
    assert len(timer.renew(claims, lease=LONG)) == FEW
    assert timer.release(claims) == FEW
    claims = timer.claim(FEW, lease=LONG)
    assert timer.bury(claims, reason="all") == FEW
    assert timer.revive([claim.key for claim in claims]) == FEW
    timer.disarm(claim.key for claim in claims)
    assert largest(own) <= bound
    assert timer.stats().pending == MANY - FEW


def test_no_answer_is_large(own: RedisServer, timer: Timer) -> None:
    """A list of buried deadlines is read in parts as well."""
    timer.arm([Deadline(str(number), ago(600)) for number in range(FEW)])
    timer.bury(timer.claim(FEW), reason="all")
    timer.buried(1)
    own.ask("CONFIG", "RESETSTAT")
    assert len(timer.buried(FEW + 1)) == FEW
    calls = str(own.ask("INFO", "commandstats"))
    assert f"cmdstat_evalsha:calls={FEW // SCRIPT_MEMBERS + 1}," in calls
    assert timer.buried(0) == []
    assert len({buried.key for buried in timer.buried(1500)}) == 1500


def test_leases_that_end_together_come_back_in_parts(timer: Timer) -> None:
    """After many workers died, each claim takes up only as many ended leases as it hands out."""
    timer.arm([Deadline(str(number), ago(600)) for number in range(FEW)])
    assert len(timer.claim(FEW, lease=timedelta(milliseconds=1))) == FEW
    seen: set[str] = set()
    while claims := timer.claim(700, lease=LONG):
        assert len(claims) <= 700
        seen.update(claim.key for claim in claims)
    assert len(seen) == FEW


@pytest.mark.parametrize(("length", "most"), [(12, 120), (32, 152)])
def test_a_pending_deadline_is_small(own: RedisServer, timer: Timer, length: int, most: int) -> None:
    """An order's number of 12 characters and its time take at most 120 bytes of the server's memory; a UUID 152."""
    total = 100_000
    timer.stats()
    before = used(own)
    timer.arm([Deadline(f"{number:0{length}}", ahead(LONG)) for number in range(total)])
    assert (used(own) - before) / total <= most


def used(server: RedisServer) -> int:
    """Return the bytes in the server's data set."""
    lines = str(server.ask("INFO", "memory")).splitlines()
    return next(int(line.split(":")[1]) for line in lines if line.startswith("used_memory_dataset:"))


def test_leases_are_a_table_from_the_first_one_on(own: RedisServer, timer: Timer) -> None:
    """Redis would store few leases as a list and search it for each key. As a table a batch costs half, measured."""
    timer.arm([Deadline("1", ago(1))])
    (claim,) = timer.claim(lease=LONG)
    assert own.ask("OBJECT", "ENCODING", "lapse:{orders:0}:lease") == "hashtable"
    assert timer.settle([claim]) == 1
    assert timer.stats().claimed == 0
