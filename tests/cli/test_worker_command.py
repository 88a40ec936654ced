"""`lapse worker` in a process of its own, on a real Redis."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lapse import Deadline, open_timer
from lapse.testing.servers import RedisServer

LAPSE = Path(sys.executable).with_name("lapse")

SHOP = """
from datetime import UTC, datetime
from pathlib import Path

from lapse import Deadline
from lapse.orders.port import Begun, Outcome, Result

OUT = Path(__file__).with_name("handled")

def note(key):
    with OUT.open("a") as out:
        print(key, datetime.now(UTC).isoformat(), file=out)

def handle(claims):
    for claim in claims:
        note(claim.key)

def poison(claims):
    raise RuntimeError("this order cannot be cancelled")

class Orders:
    '''Two unpaid orders that no timer knows: one is overdue, the other soon due.'''

    def __init__(self):
        now = datetime.now(UTC).timestamp()
        self.due = {"old": now - 60, "new": now + 2}

    def _list(self, keys):
        return [Deadline(key, datetime.fromtimestamp(self.due[key], UTC)) for key in keys]

    def overdue(self, limit, *, grace=None, after=None):
        now = datetime.now(UTC).timestamp()
        return [] if after else self._list([key for key, due in self.due.items() if due <= now])

    def deadlines(self):
        return iter(self._list(list(self.due)))

    def unreadable(self, limit):
        return {}

    def begin(self, keys):
        results = {}
        for key in keys:
            lapsed = self.due.pop(key, None) is not None
            if lapsed:
                note(key)
            results[key] = Result(Outcome.LAPSED if lapsed else Outcome.NOT_UNPAID)
        return Begun(results)

    def finish(self, rulings):
        return {}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Write a module with handlers and orders, and return the folder it is in."""
    (tmp_path / "myshop.py").write_text(SHOP)
    return tmp_path


def eventually(condition: Callable[[], bool], within: float = 60.0) -> bool:
    """Wait until the condition holds, or the time is over."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def handled(shop: Path) -> dict[str, datetime]:
    """Which keys were handled, and when for the last time."""
    file = shop / "handled"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return {key: datetime.fromisoformat(moment) for key, moment in (line.split(" ") for line in lines)}


def start(shop: Path, *words: str) -> subprocess.Popen[str]:
    """Start `lapse worker` in the shop's folder."""
    return subprocess.Popen([LAPSE, "worker", *words, "--json"], cwd=shop, stderr=subprocess.PIPE, text=True)


def test_handler_gets_what_is_due_and_sigterm_stops(shop: Path) -> None:
    """A function is handed what is due, never early; SIGTERM ends the worker with exit code 0."""
    due = datetime.now(UTC) + timedelta(seconds=1)
    with RedisServer() as redis, open_timer(redis.url, name="orders") as timer:
        timer.arm([Deadline("a", due), Deadline("b", due)])
        process = start(shop, redis.url, "--handler", "myshop:handle")
        assert eventually(lambda: handled(shop).keys() == {"a", "b"})
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert timer.stats().pending == 0
    assert min(handled(shop).values()) >= due
    events = [json.loads(line) for line in errors.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["worker started", "worker stopped"]


def test_orders_are_armed_and_swept(shop: Path) -> None:
    """With a shop's orders nothing has to be armed before: the overdue one lapses, and the other in its time."""
    with RedisServer() as redis:
        process = start(shop, redis.url, "--handler", "myshop:Orders")
        assert eventually(lambda: handled(shop).keys() == {"old", "new"})
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_orders_are_swept_while_the_timers_server_does_not_answer(shop: Path) -> None:
    """The worker waits for its timer, lapses by the sweep meanwhile, and stops on a signal."""
    process = start(shop, "redis://127.0.0.1:1/0", "--handler", "myshop:Orders", "--sweep-every", "0.2", "--grace", "0")
    assert process.stderr
    for line in process.stderr:  # a slow machine may sweep before the worker first asks its timer
        if json.loads(line)["event"] == "timer away":
            break
    assert eventually(lambda: handled(shop).keys() == {"old", "new"})
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "timer away" not in [json.loads(line)["event"] for line in errors.splitlines()]


def test_poison_is_buried_after_its_attempts(shop: Path) -> None:
    """What always fails is given up on after --max-attempts, and the log says which and why."""
    with RedisServer() as redis, open_timer(redis.url, name="orders") as timer:
        timer.arm([Deadline("bad", datetime.now(UTC))])
        process = start(shop, redis.url, "--handler", "myshop:poison", "--max-attempts", "2")
        assert eventually(lambda: timer.stats().buried == 1)
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert [one.key for one in timer.buried()] == ["bad"]
    events = [json.loads(line) for line in errors.splitlines()]
    buried = [event for event in events if event["event"] == "claims buried"]
    assert [(event["level"], event["keys"]) for event in buried] == [("error", ["bad"])]
    assert "this order cannot be cancelled" in errors
