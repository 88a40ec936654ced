"""What a gateway has not answered is tried again in one thread, until it is done."""

import os
import threading
from datetime import timedelta

import pytest

from lapse.engine.backoff import Backoff
from lapse.orders import retries
from lapse.orders.retries import Retries
from tests.orders.gateways import wait_until

AT_ONCE = timedelta(0)


def is_running() -> bool:
    """Return whether the thread of the retries runs."""
    return any(thread.name == "lapse-retries" for thread in threading.enumerate())


def test_each_is_called_until_it_is_done_and_the_thread_ends() -> None:
    """The thread starts again for what is added later, and closes what each try has opened."""
    closed: list[str] = []
    found = Retries(after=lambda: closed.append(threading.current_thread().name))
    for _ in range(2):
        left = [None, AT_ONCE, AT_ONCE]
        found.add("a", left.pop, AT_ONCE)
        wait_until(lambda: not is_running())
        assert left == []
    assert closed == ["lapse-retries"] * 6


def test_an_error_ends_no_other_retry(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the same thing is tried again after a while."""
    monkeypatch.setattr(retries, "AFTER_ERROR", Backoff(first=timedelta(milliseconds=1)))
    errors: list[Exception] = [ConnectionError("the database is away")]
    tried: list[str] = []

    def again() -> None:
        if errors:
            raise errors.pop()
        tried.append("a")

    found = Retries()
    found.add("a", again, AT_ONCE)
    found.add("b", lambda: tried.append("b"), AT_ONCE)
    wait_until(lambda: not is_running())
    assert sorted(tried) == ["a", "b"]
    assert "could not be repeated; it is tried again: the database is away" in caplog.text


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What finds no room is left to the order's deadline, and the log says so. An equal name needs no more room."""
    monkeypatch.setattr(retries, "MOST", 1)
    tried: list[str] = []
    found = Retries()
    go_on = threading.Event()
    found.add("a", lambda: tried.append("first") if go_on.is_set() else AT_ONCE, AT_ONCE)
    found.add("b", lambda: tried.append("b"), AT_ONCE)
    found.add("a", lambda: tried.append("second") if go_on.is_set() else AT_ONCE, AT_ONCE)
    assert "the deadline of order b has to do this one" in caplog.text
    go_on.set()
    wait_until(lambda: not is_running())
    assert tried == ["second"]


def test_a_forked_process_does_not_repeat_what_its_parent_does() -> None:
    """Its own retries run in a thread of its own."""
    found = Retries()
    go_on = threading.Event()
    found.add("parent", lambda: None if go_on.is_set() else AT_ONCE, AT_ONCE)
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            tried: list[str] = []
            found.add("child", lambda: tried.append("child"), AT_ONCE)
            wait_until(lambda: tried)
            code = 0 if len(found._by_process[os.getpid()].waiting) <= 1 else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    go_on.set()
    wait_until(lambda: not is_running())
