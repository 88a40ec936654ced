"""What an operator types and what a stranger sends is shown as text, and whole."""

import json
import os
import pty
import shlex
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapse import Claim, Deadline, InvalidDeadline, Worker, open_timer
from lapse.engine.deadline import check_key
from lapse.engine.visible import visible_key
from lapse.testing.servers import RedisServer
from tests.cli.running import run_here
from tests.cli.test_commands import LAPSE
from tests.engine.running import Running, wait_until

HOSTILE = [
    "cart[vip]",
    "[/red]",
    "[bold red]sale[/]",
    "\x1b[31mred",
    "two\nlines",
    "tab\tand\rreturn",
    "\u202egnp.1001",
    "\u200bzero",
    "back\\slash",
    " edges ",
    "订单" * 40,
    "x" * 512,
]
"""Keys as strangers and unlucky programs make them."""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """One Redis for all commands."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def url(redis: RedisServer) -> str:
    """Return its URL, with nothing in it."""
    redis.ask("FLUSHALL")
    return redis.url


def bury(url: str, *keys: str, reason: str = "its stock row is gone") -> None:
    """Arm the keys in the past, claim and bury them."""
    with open_timer(url, name="orders") as timer:
        timer.arm([Deadline(key, datetime.now(UTC) - timedelta(minutes=1)) for key in keys])
        assert timer.bury(timer.claim(), reason=reason) == len(keys)


def listed(url: str, **variables: str) -> list[str]:
    """Return the lines of `lapse buried list` after the header."""
    done = run_here("buried", "list", url, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert "".join(done.stdout.split("\n")).isprintable()
    return done.stdout.removesuffix("\n").split("\n")[1:]


def test_c9_keys_like_markup_are_listed_as_they_are(url: str) -> None:
    """`cart[vip]` was listed as `cart`, and `[/red]` was a traceback, so that nothing could be listed."""
    bury(url, *HOSTILE, reason="[/red] \x1b[2J\nof [vip]")
    found = listed(url)
    assert len(found) == len(HOSTILE)
    for key in HOSTILE:
        (line,) = (line for line in found if line.startswith(visible_key(key) + " "))
        assert line.endswith(r"  [/red] \x1b[2J of [vip]")
    exact = json.loads(run_here("buried", "list", url, "--json").stdout)
    assert {one["key"] for one in exact} == set(HOSTILE)


def test_c15_keys_are_whole_in_a_pipe_and_at_80_columns(url: str) -> None:
    """`lapse buried list` cut long keys in a pipe, so that `--key` could not be given."""
    bury(url, *HOSTILE)
    assert listed(url, COLUMNS="80") == listed(url, COLUMNS="40") == listed(url)
    for key in HOSTILE:
        done = run_here("buried", "drop", url, "--key", visible_key(key), "--json")
        assert json.loads(done.stdout) == {"dropped": 1}, key
    assert run_here("buried", "list", url).stdout == "Nothing is buried.\n"


def test_keys_are_whole_on_a_terminal(url: str) -> None:
    """On a terminal of 80 columns there are no escape sequences, and no line is folded by the program."""
    bury(url, *HOSTILE)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [LAPSE, "buried", "list", url], stdout=theirs, env=os.environ | {"COLUMNS": "80", "TERM": "xterm-256color"}
    ) as process:
        os.close(theirs)
        shown = b""
        while part := _read(ours):
            shown += part
    os.close(ours)
    assert process.returncode == 0
    lines = shown.decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
    assert lines[1:] == listed(url)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux reports so that the other side is closed
        return b""


def test_c15_a_key_goes_through_a_shell_and_back(url: str) -> None:
    """A quoted copy of what is shown names the key in the command that follows."""
    bury(url, *HOSTILE)
    keys = " ".join(f"--key {shlex.quote(visible_key(key))}" for key in HOSTILE)
    command = ["sh", "-c", f"{LAPSE} buried retry {url} {keys} --json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"revived": len(HOSTILE)}


def _storable(key: str) -> bool:
    try:
        return bool(check_key(key))
    except InvalidDeadline:
        return False


KEY = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\\[]/ n\n\x1b\u202e"), max_size=60)


@pytest.mark.parametrize("examples", [4, pytest.param(20, marks=pytest.mark.long)])
def test_c9_any_key_can_be_copied_from_the_list(redis: RedisServer, examples: int) -> None:
    """A key may consist of any characters: what is printed has no control characters, and `--key` takes it."""

    @given(st.lists(KEY.filter(_storable), min_size=1, max_size=8, unique=True))
    @settings(max_examples=examples, deadline=None)
    def copied(keys: list[str]) -> None:
        redis.ask("FLUSHALL")
        bury(redis.url, *keys)
        found = listed(redis.url)
        assert len(found) == len(keys)
        for key in keys:
            shown = visible_key(key)
            assert any(line.startswith(shown + " ") for line in found)
            left = {one["key"] for one in json.loads(run_here("buried", "list", redis.url, "--json").stdout)}
            done = run_here("buried", "drop", redis.url, f"--key={shown}", "--json")
            if done.returncode == 2:  # another buried key is, to the letter, what this one is shown as
                assert shown in left
                continue
            assert json.loads(done.stdout) == {"dropped": 1}

    copied()


def test_a_text_that_means_two_keys_drops_neither(url: str) -> None:
    """A line end in one key is shown as another key's backslash: neither is dropped, and clear names are shown."""
    bury(url, "a\n", r"a\n")
    done = run_here("buried", "drop", url, "--key", r"a\n")
    assert done.returncode == 2
    names = (r"a\U0000005cn", r"a\U0000000a")
    assert " and ".join(names) in done.stderr
    assert len(listed(url)) == 2
    for key in names:
        assert json.loads(run_here("buried", "drop", url, "--key", key, "--json").stdout) == {"dropped": 1}


@pytest.mark.parametrize(
    "words",
    [
        ("stats", "redis://127.0.0.1:1/0", "--name", "\x1b[31mred\nline"),
        ("stats", "\x1b[31mcron\n://localhost"),
        ("stats", "redis://\x1bc.example:1/0"),
        ("check", "redis://127.0.0.1:1/0", "--prefix", "\x1b[31m\n"),
        ("worker", "memory://", "--handler", "\x1b[31m:\n"),
        ("\u202ednatsmmoc",),
        ("--\u202enoitpo",),
        ("stats", "memory://", "further\u200b\n" + "x" * 200),
        ("stats", "memory://", "--every", "\u202e1"),
    ],
    ids=["name", "scheme", "host", "prefix", "handler", "command", "option", "argument", "number"],
)
def test_an_error_shows_what_was_typed_as_text(words: tuple[str, ...]) -> None:
    """A name with the colours of a terminal in it coloured the message about it."""
    done = run_here(*words)
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.removesuffix("\n").isprintable()
    assert done.stdout == ""


def test_an_exception_with_any_message_is_buried(url: str) -> None:
    """A handler's exception had a lone surrogate or NUL in it: the server refused the reason, and the worker ended."""

    def handle(_: list[Claim]) -> None:
        raise OSError("no file \udcff\0\x1b[31m\n" + "x" * 5000)

    with open_timer(url, name="orders") as timer:
        timer.arm([Deadline("1", datetime.now(UTC))])
        running = Running(Worker(timer, handle, max_attempts=1))
        wait_until(lambda: timer.stats().buried == 1)
        running.stop()
        (buried,) = timer.buried(1)
    assert buried.reason.startswith(r"OSError: no file \udcff\x00\x1b[31m\nxxx")
    assert buried.reason.endswith("x…")
    assert len(buried.reason) < 1100
