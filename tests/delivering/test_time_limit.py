"""The timeout ends the whole call, in each of its steps: the slot is free, and the next order does not wait."""

import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from lapse import Backoff, Claim, ConcurrentWorker, Deadline, Kind
from lapse.delivering import Answer, Body, Message, NoAnswer, Sender, Webhook
from lapse.timers.memory import MemoryTimer
from lapse.watch.options import DEFAULTS
from tests.delivering.slow_server import (
    PAUSE,
    Script,
    SlowServer,
    dripping_body,
    dripping_handshake,
    dripping_header,
    dripping_informational,
    fine,
)
from tests.engine.running import Recorder, Running, wait_until

pytestmark = pytest.mark.timeout(60)
"""A call without a limit would never end here."""

TIMEOUT = 0.5
LONGER = 4.0
"""Seconds for calls that must be answered, also on a machine that is busy."""

MESSAGE = Message("msg_1", '{"order_id":"1"}')


@pytest.mark.parametrize("script", [dripping_header, dripping_informational], ids=["header", "informational answers"])
def test_c17_a_receiver_that_drips_its_header_ends_with_the_timeout(script: Script) -> None:
    """A receiver that sent one byte a second held the slot for 41 s, although the timeout was 2 s."""
    with SlowServer(otherwise=script) as server, Sender(server.url, signer=None, timeout=TIMEOUT) as sender:
        outcome = sender.send(MESSAGE)
    assert isinstance(outcome, NoAnswer)
    assert "Timeout" in outcome.reason


def test_a_receiver_that_drips_its_body_has_answered() -> None:
    """The status has arrived, so it counts; the call ends with the timeout, and the next one needs a new connection."""
    with (
        SlowServer(dripping_body, otherwise=fine) as server,
        Sender(server.url, signer=None, timeout=LONGER) as sender,
    ):
        cut, next_one = sender.send(MESSAGE), sender.send(MESSAGE)
    assert isinstance(cut, Answer)
    assert (cut.status, cut.whole) == (200, False)
    assert cut.body.startswith('{"co')
    assert next_one == Answer(200, "OK")


def test_a_slow_tls_handshake_ends_with_the_timeout() -> None:
    """A receiver that drips its part of the handshake is no answer."""
    with SlowServer(otherwise=dripping_handshake) as server:
        url = f"https://127.0.0.1:{server.port}/"
        with Sender(url, signer=None, timeout=TIMEOUT) as sender:
            outcome = sender.send(MESSAGE)
    assert isinstance(outcome, NoAnswer)
    assert "Timeout" in outcome.reason


def test_a_slow_upload_ends_with_the_timeout() -> None:
    """A receiver reads a large message in small parts, each of them in time: the call ends long before the message."""
    large = Message("msg_1", "x" * 50_000_000)
    received = []

    def read_slowly(connection: socket.socket, over: threading.Event) -> None:
        while not over.wait(PAUSE) and (part := connection.recv(65_536)):
            received.append(len(part))

    with SlowServer(otherwise=read_slowly) as server, Sender(server.url, signer=None, timeout=TIMEOUT) as sender:
        outcome = sender.send(large)
        assert 0 < sum(received) < len(large.body) / 2
    assert isinstance(outcome, NoAnswer)
    assert "Timeout" in outcome.reason


@pytest.fixture
def stuck_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let the name lookup wait until the test is over. Yield the names that were looked up."""
    over = threading.Event()
    looked_up: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        looked_up.append(host)
        over.wait(60)
        raise socket.gaierror("the test is over")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield looked_up
    over.set()


def test_a_name_server_that_does_not_answer_ends_with_the_timeout(stuck_names: list[str]) -> None:
    """The system's lookup cannot be ended: it goes on in one thread, which all later calls share."""
    with Sender("https://shop.example/", signer=None, timeout=TIMEOUT) as sender:
        for _ in range(3):
            outcome = sender.send(MESSAGE)
            assert isinstance(outcome, NoAnswer)
            assert outcome.reason == "ConnectTimeout: no name server has answered for shop.example"
    assert stuck_names == ["shop.example"]


def test_a_name_without_an_address_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names the host."""

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with Sender("https://shop.example/", signer=None, timeout=TIMEOUT) as sender:
        outcome = sender.send(MESSAGE)
    assert isinstance(outcome, NoAnswer)
    assert outcome.reason.startswith("ConnectError: shop.example has no address")


def test_a_lookup_for_which_there_is_no_thread_holds_up_no_later_one(
    stuck_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that may have no more threads says so at once, and the next call looks the name up."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Sender("https://shop.example/", signer=None, timeout=TIMEOUT) as sender:
        with monkeypatch.context() as no_more_threads:
            no_more_threads.setattr(threading.Thread, "start", start)
            outcome = sender.send(MESSAGE)
        assert isinstance(outcome, NoAnswer)
        assert outcome.reason == "ConnectError: shop.example cannot be looked up: can't start new thread"
        sender.send(MESSAGE)
    assert stuck_names == ["shop.example"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # which is what this test is about
def test_a_fork_does_not_write_into_its_parents_connection() -> None:
    """The receiver would read the messages of two processes mixed."""
    with SlowServer(otherwise=fine) as server, Sender(server.url, signer=None, timeout=LONGER) as sender:
        assert sender.send(MESSAGE) == Answer(200, "OK")
        child = os.fork()
        if not child:
            os._exit(0 if sender.send(MESSAGE) == Answer(200, "OK") else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert server.connections == 2


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # as above
def test_a_fork_does_not_wait_for_its_parents_lookup(stuck_names: list[str]) -> None:
    """The thread of that lookup stayed in the parent, so the lookup would never end, nor would any later one begin."""
    with Sender("https://shop.example/", signer=None, timeout=TIMEOUT) as sender:
        sender.send(MESSAGE)
        child = os.fork()
        if not child:
            sender.send(MESSAGE)
            os._exit(0 if len(stuck_names) == 2 else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name has two addresses, and nothing answers at the first one: the second one is tried within the timeout."""
    full = socket.create_server(("127.0.0.2", 0), backlog=0)
    port = full.getsockname()[1]
    waiting = []
    for _ in range(3):  # fill the queue of connections, so that the next one waits
        one = socket.socket()
        one.settimeout(0)
        one.connect_ex(("127.0.0.2", port))
        waiting.append(one)
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: object, **options: object) -> list[object]:
        if host != "shop.example":
            return real(host, *rest, **options)  # type: ignore[arg-type,return-value] # as they came
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with socket.create_server(("127.0.0.1", port)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                fine(connection, threading.Event())

        threading.Thread(target=serve, daemon=True).start()
        with Sender(f"http://shop.example:{port}/", signer=None, timeout=LONGER, insecure_http=True) as sender:
            assert sender.send(MESSAGE) == Answer(200, "OK")
    for one in (*waiting, full):
        one.close()


def test_c17_other_orders_do_not_wait_for_a_receiver_that_drips() -> None:
    """One slot, and a receiver that drips its answer to the first order: the second one is delivered meanwhile."""
    recorder = Recorder()
    timer = MemoryTimer("orders")
    now = datetime.now(UTC)
    timer.arm([Deadline("first", now - timedelta(seconds=2)), Deadline("second", now - timedelta(seconds=1))])
    retry = Backoff(first=timedelta(seconds=30), most=timedelta(seconds=60))
    with (
        SlowServer(dripping_header, otherwise=fine) as server,
        Sender(server.url, signer=None, timeout=LONGER) as sender,
    ):
        webhook = Webhook(sender, name="orders", body=Body(DEFAULTS.body), backoff=retry)
        running = Running(ConcurrentWorker(timer, webhook, concurrency=1, hooks=[recorder]))
        wait_until(lambda: recorder.of(Kind.HANDLED))
        running.stop()
    happened = [(event.kind, event.keys) for event in recorder.events if event.keys]
    assert happened == [(Kind.FAILED, ("first",)), (Kind.HANDLED, ("second",))]
    assert timer.stats().pending == 1


def test_a_claim_says_why_it_failed() -> None:
    """The reason that is logged and buried names the timeout."""
    now = datetime.now(UTC)
    with SlowServer(otherwise=dripping_header) as server, Sender(server.url, signer=None, timeout=TIMEOUT) as sender:
        decision = Webhook(sender, name="orders", body=Body(DEFAULTS.body))(Claim("1", now, 1, 1, now, now))
    assert "Timeout" in decision.reason
