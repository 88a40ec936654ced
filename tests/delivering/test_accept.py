"""An answer 200 whose JSON says that it failed: the order is not lost in silence."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lapse import Claim, ConfigError, Release, Settle
from lapse.delivering import Accept, Body, Sender, Webhook
from lapse.delivering.accept import beginning, looks_like_failure, looks_like_page
from lapse.testing.servers import RedisServer
from lapse.watch.options import DEFAULTS
from tests.cli.running import run_here
from tests.delivering.slow_server import SlowServer, dripping_body
from tests.engine.running import wait_until
from tests.watch.programs import SECRET, watching
from tests.watch.receiver import Receiver

FAILED = '{"code": 500, "msg": "stock \\u001b[31m row\\ngone"}'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Open a shop's address."""
    with Receiver() as receiver:
        yield receiver


def claim(key: str = "1001") -> Claim:
    """Claim one order that is due now."""
    now = datetime.now(UTC)
    return Claim(key, now, 1, 1, now, now)


def decide(receiver: Receiver, body: str, *, accept: str = "", status: int = 200) -> Settle | Release:
    """Deliver one order, which is answered with this body."""
    receiver.otherwise = (status, {})
    receiver.body = body
    with Sender(receiver.url, signer=None) as sender:
        rule = Accept(accept) if accept else None
        return Webhook(sender, name="orders", body=Body(DEFAULTS.body), accept=rule)(claim())


def test_c13_an_answer_200_that_says_it_failed_is_tried_again(receiver: Receiver) -> None:
    """A shop answered 200 with `{"code": 500}`: the order was settled and nothing was logged."""
    decision = decide(receiver, FAILED, accept="code=0")
    assert isinstance(decision, Release)
    assert decision.reason == f"200 OK: code is 500, and --accept is code=0: it answered {FAILED}"
    assert decide(receiver, '{"code": 0}', accept="code=0") == Settle()


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ("code=0", '{"code": "0"}'),
        ("code=0,200", '{"code": 200, "msg": "done"}'),
        ("success=true", '{"success": true}'),
        ("error=null", '{"error": null}'),
        ("status=ok", '{"status": "ok"}'),
        ("data.state=done", '{"data": {"state": "done"}}'),
        ("msg=完成", '{"msg": "完成"}'),
        (" code = 0 , 1 ", '{"code": 1}'),
    ],
)
def test_values_that_mean_success(receiver: Receiver, rule: str, body: str) -> None:
    """A text, a number, true, false or null, one of several, also inside an object."""
    assert decide(receiver, body, accept=rule) == Settle()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "its body is not JSON"),
        ("<html>it works!</html>", "its body is not JSON"),
        ('{"msg": "done"}', "its JSON has no code"),
        ("[0]", "its JSON has no code"),
        ('{"code": null}', "code is null"),
        ('{"code": false}', "code is false"),
        ('{"code": [0]}', "code is [0]"),
        ("[" * 50_000, "its body is not JSON"),
        ('{"code": 0, "more": "' + "x" * 70_000 + '"}', "did not arrive whole"),
    ],
    ids=["empty", "HTML", "no field", "a list", "null", "false", "list", "deep", "long"],
)
def test_anything_else_is_tried_again(receiver: Receiver, body: str, said: str) -> None:
    """No JSON, no such field, another value, and a body that is too long: the reason says which."""
    decision = decide(receiver, body, accept="code=0")
    assert isinstance(decision, Release)
    assert decision.reason.startswith("200 OK: ")
    assert said in decision.reason
    assert decision.reason.isprintable()
    assert len(decision.reason) < 400


def test_a_body_that_stalls_is_no_success_where_the_body_decides() -> None:
    """With --accept the body is needed: without it, it is unknown whether the shop has cancelled the order."""
    with SlowServer(otherwise=dripping_body) as server, Sender(server.url, signer=None, timeout=0.5) as sender:
        decision = Webhook(sender, name="orders", body=Body(DEFAULTS.body), accept=Accept("code=0"))(claim())
    assert isinstance(decision, Release)
    assert "did not arrive whole" in decision.reason


@pytest.mark.parametrize("status", [404, 409, 410])
def test_final_answers_stay_final(receiver: Receiver, status: int) -> None:
    """No such order, and must not be cancelled: the status says it, and no field is needed."""
    assert isinstance(decide(receiver, '{"code": 4}', accept="code=0", status=status), Settle)


def test_other_failures_show_the_beginning_of_the_answer(receiver: Receiver) -> None:
    """An answer 401 says why in its body; a page of HTML says nothing in a log."""
    decision = decide(receiver, '{"detail": "the timestamp\nis too old"}' + "x" * 9000, status=401)
    assert decision.reason.startswith('401 Unauthorized: it answered {"detail": "the timestamp is too old"}xxx')
    assert len(decision.reason) < 300
    assert decide(receiver, "<!DOCTYPE html><p>Trace", status=500).reason == "500 Internal Server Error"
    assert beginning("\x1b[2J\u202ea") == r"\x1b[2J\u202ea"


@pytest.mark.parametrize(
    "body",
    [
        FAILED,
        '{"code": "500"}',
        '{"code": -1}',
        '{"success": false}',
        '{"ok": false, "error": "no"}',
        '{"status": "error"}',
        '{"status": "FAILED"}',
        '{"errcode": 40001}',
        '{"code": "1' + "0" * 5000 + '"}',
    ],
)
def test_json_that_looks_like_a_failure(body: str) -> None:
    """The fields that APIs commonly use, with values that are no success."""
    assert looks_like_failure(body)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "ok",
        "[]",
        "{",
        "{" * 50_000,
        "[{",
        '{"code": 0}',
        '{"code": 1}',
        '{"code": 200}',
        '{"code": "00000"}',
        '{"code": "SUCCESS"}',
        '{"success": true}',
        '{"status": "ok"}',
        '{"status": "cancelled"}',
        '{"status": null}',
        '{"order": {"code": 500}}',
    ],
)
def test_json_that_does_not_look_like_a_failure(body: str) -> None:
    """Success as APIs commonly write it, and bodies of which nothing is known."""
    assert not looks_like_failure(body)


def test_c13_a_login_page_with_200_is_warned_of(receiver: Receiver) -> None:
    """The address led to a login page, which is 200: each order was settled in silence and no order was cancelled."""
    receiver.body = "\n<!DOCTYPE html><html><title>Sign in</title>"
    with Sender(receiver.url, signer=None) as sender:
        webhook = Webhook(sender, name="orders", body=Body(DEFAULTS.body))
        first, second = webhook(claim("1")), webhook(claim("2"))
    assert isinstance(first, Settle)
    assert "answered a page of HTML. If that is a login or an error page" in first.reason
    assert "Sign in" not in first.reason
    assert second == Settle()


@pytest.mark.parametrize("body", ["", "ok", "<p>done</p>", "<?xml version='1.0'?><ok/>", '{"page": "<html>"}'])
def test_a_short_answer_is_no_page(body: str) -> None:
    """PHP and Flask send a short text as HTML too; XML is an answer of an API."""
    assert not looks_like_page(body)


def test_c13_the_first_answer_that_looks_like_a_failure_is_warned_of(receiver: Receiver) -> None:
    """Without --accept a 2xx counts as delivered; one warning names the option."""
    receiver.body = FAILED
    with Sender(receiver.url, signer=None) as sender:
        webhook = Webhook(sender, name="orders", body=Body(DEFAULTS.body))
        first, second = webhook(claim("1")), webhook(claim("2"))
    assert isinstance(first, Settle)
    assert "--accept" in first.reason
    assert '"code": 500' in first.reason
    assert second == Settle()


@pytest.mark.parametrize("rule", ["code", "=0", "code=", "code=0,", "a..b=1", ".=1"])
def test_rules_that_are_refused(rule: str) -> None:
    """A rule that cannot be read is refused with an example."""
    with pytest.raises(ConfigError, match="code=0"):
        Accept(rule)


def test_a_rule_that_is_refused_is_one_line_of_the_command() -> None:
    """The watcher does not start, and shows what was typed as text."""
    words = ("watch", "redis://127.0.0.1:1/0", "--prefix", "n", "--post", "http://127.0.0.1:1/", "--accept", "\x1bcode")
    done = run_here(*words, LAPSE_WEBHOOK_SECRET=SECRET)
    assert done.returncode == 2
    assert r"\x1bcode" in done.stderr
    assert "code=0" in done.stderr


def test_c13_the_watcher_retries_and_buries_what_was_not_accepted(receiver: Receiver, tmp_path: Path) -> None:
    """`lapse watch --accept code=0`: each refusal is one line with the answer, and the last try buries the order."""
    receiver.body = FAILED
    with RedisServer() as server:
        words = (server.url, "--prefix", "nick_", "--post", receiver.url, "--attempts", "2", "--accept", "code=0")
        with watching(tmp_path, *words) as watcher:
            server.ask("SET", "nick_1001", "x", "PX", 100)
            wait_until(lambda: watcher.said("claims buried"))
            receiver.body = '{"code": 0}'
            assert run_here("buried", "retry", server.url, "--prefix", "nick_").stdout == "1 revived.\n"
            wait_until(lambda: watcher.said("batch handled"))
    (failed,) = watcher.said("handler failed")
    (buried,) = watcher.said("claims buried")
    assert "code is 500, and --accept is code=0" in failed["reason"]
    assert "attempt 1 of 2" in failed["reason"]
    assert failed["reason"].startswith(buried["reason"])
    assert len(receiver.calls) == 3
