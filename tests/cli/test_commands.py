"""The command `lapse`, run as an operator runs it, on a real Redis."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lapse import Deadline, open_timer
from lapse.testing.servers import RedisServer
from tests.cli.running import run_here

LAPSE = Path(sys.executable).with_name("lapse")
PASSWORD = "s3cret-pass"


def lapse(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command and return what it wrote and its exit code."""
    clean = {name: value for name, value in os.environ.items() if name != "LAPSE_TIMER"}
    return subprocess.run(
        [LAPSE, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=clean | {"COLUMNS": "120"} | environment,
    )


def answer(*words: str) -> Any:
    """Run the command with --json and return what it said."""
    done = run_here(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """One Redis with a password for all commands."""
    with RedisServer(password=PASSWORD) as server:
        yield server


@pytest.fixture
def url(redis: RedisServer) -> str:
    """Its address, with nothing in it."""
    redis.ask("FLUSHALL")
    return redis.url


def bury(url: str, *keys: str) -> None:
    """Arm the keys in the past, claim and bury them."""
    with open_timer(url, name="orders") as timer:
        timer.arm([Deadline(key, datetime.now(UTC) - timedelta(minutes=1)) for key in keys])
        assert timer.bury(timer.claim(), reason="its stock row is gone") == len(keys)


def test_version_and_help() -> None:
    """`--version` is one line, and help shows examples."""
    assert lapse("--version").stdout.startswith("lapse 0.")
    for words in ((), ("worker",), ("stats",), ("check",), ("buried", "list")):
        shown = run_here(*words, "--help")
        assert shown.returncode == 0
        assert "Example" in shown.stdout


def test_stats_counts(url: str) -> None:
    """Pending, due and the oldest are as armed, for people, for machines, and by the environment's URL."""
    with open_timer(url, name="orders") as timer:
        timer.arm([Deadline("a", datetime.now(UTC) - timedelta(hours=1)), Deadline("b", datetime.now(UTC))])
        timer.arm([Deadline("c", datetime.now(UTC) + timedelta(days=2))])
    found = answer("stats", url)
    assert (found["pending"], found["due"], found["claimed"], found["buried"]) == (3, 2, 0, 0)
    assert found["late_seconds"] >= 3600
    assert datetime.fromisoformat(found["next_due"]) > datetime.now(UTC)
    shown = run_here("stats", LAPSE_TIMER=url)
    assert shown.returncode == 0
    assert "1 h 0 min late" in shown.stdout
    assert run_here("stats", url, "--name", "reminders").returncode == 2


def test_stats_watches_until_it_is_told_to_stop(url: str) -> None:
    """With --watch there is a line per look; Ctrl-C ends it without a word."""
    bury(url, "1")  # a server without any timer would cause a note
    process = subprocess.Popen(
        [LAPSE, "stats", "--watch", "--every", "0.1", "--json"],
        env=os.environ | {"LAPSE_TIMER": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    looks = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert [look["pending"] for look in looks] == [0, 0, 0]
    assert (process.returncode, errors) == (0, "")


def test_check_of_a_fit_server(url: str) -> None:
    """A server that answers and is fit is exit code 0."""
    done = lapse("check", LAPSE_TIMER=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "answers" in done.stdout
    assert answer("check", url)["fit"] is True


def test_buried_are_listed_retried_and_dropped(url: str) -> None:
    """What was given up on is shown with its reason, comes back due at once, or is forgotten."""
    bury(url, "1001", "1002", "1003", "naïve")
    listed = answer("buried", "list", url)
    assert {one["key"]: one["reason"] for one in listed} == dict.fromkeys(
        ["1001", "1002", "1003", "naïve"], "its stock row is gone"
    )
    assert "its stock row is gone" in run_here("buried", "list", url).stdout
    assert answer("buried", "retry", url, "--key", "1002", "--key", "unknown") == {"revived": 1}
    assert answer("buried", "drop", url, "--key", "1001", "--key", "1002") == {"dropped": 1}
    for command in ("retry", "drop"):
        mistyped = run_here("buried", command, url, "--key", "10033")
        assert (mistyped.returncode, mistyped.stdout[0]) == (1, "0")
        assert "10033 is not buried: `lapse buried list` shows what is" in mistyped.stderr
    found = answer("stats", url)
    assert (found["due"], found["buried"]) == (1, 2)
    assert run_here("buried", "drop", url).returncode == 2
    assert answer("buried", "retry", url) == {"revived": 2}
    assert lapse("buried", "list", url).stdout == "Nothing is buried.\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["stats", "cron://localhost"], 2, "no timer understands cron://"),
        (["stats", "redis://127.0.0.1:1/0", "--name", "two words"], 2, "a timer's name"),
        (["stats", f"redis://:{PASSWORD}@127.0.0.1:1/0"], 1, "no answer"),
        (["stats", "redis://[::1"], 2, "%5B"),
        (["stats", f"redis://:[{PASSWORD}]@127.0.0.1:1/0"], 2, "%5D"),
        (["stats", f"redis://:{PASSWORD}/more@127.0.0.1:1/0"], 2, "%2F"),
        (["stats", f":{PASSWORD}@127.0.0.1:1/0"], 2, "redis"),
        (["stats", "redis://127.0.0.1:1/0?decode_responses=1"], 2, "decode_responses"),
        (["stats", "redis://127.0.0.1:1/0", "--prefix", "nick\udcff_"], 2, "UTF-8"),
        (["stats"], 2, "Missing argument"),
        (["check", f"redis+expiry://:{PASSWORD}@127.0.0.1:1/0"], 1, "no answer"),
        (["worker", "memory://", "--handler", "nothing"], 2, "--handler"),
        (["worker", "memory://", "--handler", "no_such_module:handle"], 2, "no_such_module"),
        (["worker", "memory://", "--handler", "sys:maxsize"], 2, "neither"),
        (["worker", "memory://"], 2, "--handler"),
    ],
)
def test_errors_are_clear(words: list[str], code: int, said: str) -> None:
    """Wrong input is 2, an absent server 1; the message is on standard error, without traceback or password."""
    done = run_here(*words)
    assert done.returncode == code
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stderr


def test_a_wrong_command_ends_the_process_with_2() -> None:
    """The exit code is that of the process, and nothing but the message is written."""
    done = lapse("dance")
    assert (done.returncode, done.stdout) == (2, "")
    assert "dance" in done.stderr


def test_refused_by_the_server(redis: RedisServer) -> None:
    """A wrong password is exit code 1, and is not shown."""
    done = lapse("check", LAPSE_TIMER=redis.url.replace(PASSWORD, "wrong-guess"))
    assert done.returncode == 1
    assert "wrong-guess" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [("stats",), ("check",), ("buried", "list"), ("buried", "retry")], ids=" ".join)
def test_a_password_on_the_command_line_is_warned_of(url: str, words: tuple[str, ...]) -> None:
    """Others can list it there: one line says where it belongs, and does not repeat it. In the variable it is fine."""
    bury(url, "1")
    done = run_here(*words, url, "--json")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert "LAPSE_TIMER" in line
    assert PASSWORD not in line
    json.loads(done.stdout)
    assert run_here(*words, LAPSE_TIMER=url).stderr == ""
