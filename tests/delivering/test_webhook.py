"""One delivery: what is sent, where to, and what each answer means."""

import base64
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks.webhooks import Webhook as Verifying

from lapse import Backoff, Claim, ConfigError, Release, Settle
from lapse.delivering import Answer as Sent
from lapse.delivering import Body, Message, NoAnswer, Sender, Signer, Webhook
from lapse.delivering.sender import LONGEST_WAIT
from lapse.delivering.webhook import RETRY
from lapse.network.proxy import proxy_for
from lapse.watch.options import DEFAULTS
from tests.watch.receiver import OK, Answer, Receiver

SECRET = "whsec_bGFwc2UtdGVzdC1zZWNyZXQtbGFwc2UtdGVzdC1zZWNyZXQ="
OTHER = "b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC1vdGhlcg=="
SHORT = Backoff(first=timedelta(seconds=4), most=timedelta(seconds=60))


def claim(key: str = "1001", attempt: int = 1) -> Claim:
    """Claim one order that is due now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return Claim(key, now, attempt, 1, now, now + timedelta(seconds=10))


@contextmanager
def webhook_to(
    url: str, *, signer: Signer | None = None, backoff: Backoff = RETRY, timeout: float = 10.0
) -> Iterator[Webhook]:
    """Deliver to one address as the watcher does."""
    with Sender(url, signer=signer, timeout=timeout) as sender:
        yield Webhook(sender, name="orders", body=Body(DEFAULTS.body), backoff=backoff)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Open a shop's address."""
    with Receiver() as receiver:
        yield receiver


def deliver(receiver: Receiver, answer: Answer, attempt: int = 1) -> Settle | Release:
    """Deliver one order, which is answered so."""
    receiver.answers["1001"] = [answer]
    with webhook_to(receiver.url, backoff=SHORT) as webhook:
        return webhook(claim(attempt=attempt))


def test_no_call_uses_anothers_connection(receiver: Receiver) -> None:
    """A pool that calls share may close for idleness what one of them has just begun to use: a call comes twice."""
    both_are_here = threading.Barrier(2, timeout=30)
    receiver.before_answer = lambda _: both_are_here.wait()
    with webhook_to(receiver.url) as webhook, ThreadPoolExecutor(2) as pool:
        assert list(pool.map(webhook, [claim(), claim()])) == [Settle()] * 2
        first, second = (call.port for call in receiver.calls)
        assert first != second
        receiver.before_answer = lambda _: None
        assert [webhook(claim()) for _ in range(2)] == [Settle()] * 2
    assert {call.port for call in receiver.calls[2:]} < {first, second}


def test_the_signature_is_one_that_the_shop_accepts(receiver: Receiver) -> None:
    """Each of several secrets verifies; another one, and another body, do not."""
    with webhook_to(receiver.url, signer=Signer.from_text(f"{SECRET}\n{OTHER}\n")) as webhook:
        assert webhook(claim("订单-1")) == Settle()
    (call,) = receiver.calls
    assert (call.path, call.text) == ("/payment/cancel_order/", '{"order_id":"订单-1"}')
    assert call.headers["content-type"] == "application/json"
    for secret in (SECRET, OTHER):
        Verifying(secret).verify(call.text, call.headers, json_parse=False)
    stranger = Signer.from_text("c3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXI=")
    with webhook_to(receiver.url, signer=stranger) as webhook:
        webhook(claim())
    with pytest.raises(Exception, match="No matching signature"):
        Verifying(SECRET).verify(receiver.calls[-1].text, receiver.calls[-1].headers)


def test_the_message_has_one_id_however_often_it_is_sent(receiver: Receiver) -> None:
    """A second try has the first one's id; another order, and the same order's other deadline, have others."""
    now = datetime.now(UTC)
    with webhook_to(receiver.url, signer=Signer.from_text(SECRET)) as webhook:
        for key, due, attempt in (("1", now, 1), ("1", now, 2), ("2", now, 1), ("1", now + timedelta(minutes=5), 1)):
            webhook(Claim(key, due, attempt, attempt, now, now))
    first, second, other, later = (call.headers["webhook-id"] for call in receiver.calls)
    assert first == second
    assert len({first, other, later}) == 3


@pytest.mark.parametrize("status", [200, 201, 202, 204, 404, 409, 410])
def test_answers_that_settle(receiver: Receiver, status: int) -> None:
    """Done, or nothing to be done; that the shop knows no such order is said."""
    decision = deliver(receiver, (status, {}))
    assert isinstance(decision, Settle)
    assert bool(decision.reason) == (status in (404, 410))


@pytest.mark.parametrize("status", [404, 410])
def test_c13_a_wrong_path_loses_no_order(receiver: Receiver, status: int) -> None:
    """An operator mistyped the path: each order was settled by the server's page for unknown paths, and none cancelled.

    Once the address has accepted a call, it is the shop's view that knows no such order.
    """
    receiver.body = "<h1>Not Found</h1>"
    receiver.answers["1001"] = [(status, {}), OK, (status, {})]
    with webhook_to(receiver.url) as webhook:
        first, second, third = webhook(claim()), webhook(claim()), webhook(claim())
    assert isinstance(first, Release)
    assert "it has accepted no call yet: correct it" in first.reason
    assert isinstance(second, Settle)
    assert isinstance(third, Settle)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 400, 401, 403, 405, 408, 422, 429, 500, 502, 503])
def test_answers_that_are_tried_again(receiver: Receiver, status: int) -> None:
    """Any answer that the shop may fix is tried again after the back-off, and no redirect is followed."""
    decision = deliver(receiver, (status, {"Location": receiver.url}), attempt=2)
    assert isinstance(decision, Release)
    assert decision.reason.startswith(str(status))
    assert decision.delay is not None
    assert timedelta(seconds=4) <= decision.delay <= timedelta(seconds=8)
    assert len(receiver.calls) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(receiver: Receiver, status: int) -> None:
    """Seconds, or a date by the shop's own clock: it is not called earlier, and not much later. Nonsense is ignored."""
    shop = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)
    until = format_datetime(shop + timedelta(seconds=90), usegmt=True)
    dated = {"Retry-After": until, "Date": format_datetime(shop, usegmt=True)}
    for headers in ({"Retry-After": "90"}, dated):
        # http.server writes a Date of its own first, so that the last one has to be the shop's alone.
        decision = _asked(status, headers)
        assert timedelta(seconds=90) <= decision <= timedelta(seconds=92), headers
    assert _asked(status, {"Retry-After": "99999999999"}) <= LONGEST_WAIT + timedelta(seconds=2)
    for nonsense in ("soon", "-5", "", "³", "Mon, 99 Foo 2026"):
        assert _asked(status, {"Retry-After": nonsense}) <= timedelta(seconds=4), nonsense
    past = format_datetime(shop - timedelta(days=1), usegmt=True)
    assert _asked(status, {**dated, "Retry-After": past}) <= timedelta(seconds=4)
    del receiver


def _asked(status: int, headers: dict[str, str]) -> timedelta:
    """Let a server answer with just these headers, and return how long the delivery waits."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    answer = f"HTTP/1.1 {status} Wait\r\n{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with webhook_to(url, backoff=SHORT) as webhook:
            decision = webhook(claim())
        thread.join()
    assert isinstance(decision, Release)
    assert decision.delay is not None
    return decision.delay


def test_a_network_that_fails_is_tried_again() -> None:
    """A server that never answers, and a port without a server: the claim is released with the reason."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with webhook_to(f"http://127.0.0.1:{port}/", timeout=0.2) as webhook:
            decision = webhook(claim())
        assert isinstance(decision, Release)
        assert "Timeout" in decision.reason
    with webhook_to(f"http://127.0.0.1:{port}/") as webhook:
        decision = webhook(claim())
    assert isinstance(decision, Release)
    assert "no server listens there: check the host and the port in the address" in decision.reason
    assert "Errno" not in decision.reason


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (404, "the address to POST to may be wrong"),
        (405, "this address takes no POST"),
        (401, "ask for no login"),
        (403, "no login or CSRF token"),
    ],
)
def test_an_answer_of_a_wrong_address_says_what_to_correct(receiver: Receiver, status: int, advice: str) -> None:
    """A mistyped path answered "405 Method Not Allowed" or "401 Unauthorized" and no more."""
    receiver.body = ""
    assert advice in deliver(receiver, (status, {})).reason


def test_the_port_of_https_is_named_where_http_is_written() -> None:
    """A server for TLS ended the connection: "Server disconnected without sending a response." named no cause."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def end() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)

        thread = threading.Thread(target=end)
        thread.start()
        with webhook_to(f"http://127.0.0.1:{listening.getsockname()[1]}/") as webhook:
            decision = webhook(claim())
        thread.join()
    assert isinstance(decision, Release)
    assert "if this port is for TLS, write https:// in the address" in decision.reason


def test_a_body_without_end_is_not_read_for_ever(receiver: Receiver) -> None:
    """The answer counts as soon as its status is known; what drips after it is cut off."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not stop.wait(0.02):
                    try:
                        connection.sendall(b".")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with webhook_to(url, timeout=0.5) as webhook:
            assert webhook(claim()) == Settle()
        stop.set()
        thread.join()
    assert deliver(receiver, OK) == Settle()


@pytest.mark.parametrize(
    "rest",
    [b"Content-Length: 50\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\nno length\r\n"],
    ids=["short", "nonsense"],
)
@pytest.mark.parametrize("stalls", [True, False], ids=["stalls", "is cut"])
def test_only_the_status_decides(rest: bytes, *, stalls: bool) -> None:
    """A shop that has answered 200 is not called again, however the answer's body ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        decided = threading.Event()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + rest)
                if stalls:
                    decided.wait(60)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with webhook_to(url, timeout=0.5) as webhook:
            assert webhook(claim()) == Settle()
        decided.set()
        thread.join()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://shop.example/cancel/", "--insecure-http"),
        ("http://127.0.0.1.example/cancel/", "--insecure-http"),
        ("http://192.168.1.5/cancel/", "--insecure-http"),
        ("https://user:secret@shop.example/", "signed instead"),
        ("https://shop.example/#part", "#"),
        ("ftp://shop.example/", "https://"),
        ("https:///cancel/", "https://"),
        ("shop.example/cancel", "https://"),
        ("https://shop.example:port/", "address"),
        ("https://shop.example/a b", "space"),
        ("https://shop.example/\x1b[31m\n", r"\\x1b\[31m\\n"),
        ("https://shop\u202e.example/", r"\\u202e"),
        ("https://ü..example/", "address"),
    ],
)
def test_addresses_that_are_refused(url: str, said: str) -> None:
    """Plain http beyond this machine, and what is no address, is an error that says what to write instead."""
    with pytest.raises(ConfigError, match=said) as refused:
        Sender(url, signer=None)
    assert "secret" not in str(refused.value)


def test_addresses_that_are_fine() -> None:
    """Https to any host, http to this machine; and to other machines where that is permitted."""
    for url in ("https://shop.example/x", "http://localhost:8000/", "http://127.8.8.8/", "http://[::1]:80/"):
        Sender(url, signer=None).close()
    Sender("http://10.0.0.7/", signer=None, insecure_http=True).close()


def test_the_proxy_of_the_environment_is_not_the_way_to_this_machine(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call to loopback goes there, also where HTTP_PROXY names a proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert deliver(receiver, OK) == Settle()


@pytest.mark.parametrize("named", ["http://user:p%40ss@127.0.0.1:{port}", "127.0.0.1:{port}"], ids=["login", "short"])
def test_the_proxy_of_the_environment_is_used_for_other_hosts(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call to another host goes to the proxy, with the proxy's login; NO_PROXY leaves the proxy out."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(65_536).decode())
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("HTTP_PROXY", named.format(port=listening.getsockname()[1]))
        monkeypatch.setenv("NO_PROXY", "other.example")
        with Sender("http://shop.example/cancel/?a=1", signer=None, insecure_http=True) as sender:
            assert isinstance(sender.send(Message("msg_1", "{}")), Sent)
        assert proxy_for("http://other.example/") is None
    assert asked[0].startswith("POST http://shop.example/cancel/?a=1 HTTP/1.1\r\n")
    login = base64.b64encode(b"user:p@ss").decode()
    assert (f"Basic {login}" in asked[0]) == ("user" in named)


@pytest.mark.parametrize(
    "named", ["ftp://user:secret@proxy.example", "http://user:secret@:80", "http://u:secret@p:port"]
)
def test_a_proxy_that_cannot_be_used_is_refused(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to write, and shows no password."""
    monkeypatch.setenv("HTTPS_PROXY", named)
    with pytest.raises(ConfigError, match=r"NO_PROXY=shop\.example") as refused:
        Sender("https://shop.example/", signer=None)
    assert "secret" not in str(refused.value)


def test_a_sender_needs_no_claim(receiver: Receiver) -> None:
    """Any message goes out signed, with its id, its headers and its body; the outcome says what came back."""
    message = Message("msg_1", '{"order_id": "7"}', {"content-type": "application/json", "x-topic": "lapsed"})
    receiver.answers["7"] = [(202, {}), (503, {"Retry-After": "7"})]
    with Sender(receiver.url, signer=Signer.from_text(SECRET)) as sender:
        accepted, busy = sender.send(message), sender.send(message)
    assert isinstance(accepted, Sent)
    assert isinstance(busy, Sent)
    assert (accepted.status, accepted.success, accepted.retry_after) == (202, True, None)
    assert (busy.success, busy.overloaded, busy.retry_after) == (False, True, timedelta(seconds=7))
    for call in receiver.calls:
        assert (call.text, call.headers["webhook-id"], call.headers["x-topic"]) == (message.body, "msg_1", "lapsed")
        Verifying(SECRET).verify(call.text, call.headers)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Sender(f"http://127.0.0.1:{port}/", signer=None) as sender:
        assert isinstance(sender.send(message), NoAnswer)


@pytest.mark.parametrize("text", ["", "   ", "whsec_", "short", "whsec_c2hvcnQ=", "not base64 at all!", f"{SECRET} x"])
def test_secrets_that_are_refused(text: str) -> None:
    """An empty, short or garbled secret is refused, without being shown."""
    with pytest.raises(ConfigError, match="openssl rand") as refused:
        Signer.from_text(text)
    assert SECRET not in str(refused.value)
    assert "not base64" not in text or text not in str(refused.value)
