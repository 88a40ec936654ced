"""Policies that overrule a client: `lapse check` calls them BAD where it can see them, and else says "not checked"."""

from collections.abc import Iterator
from typing import Any

import pytest

from lapse import Deadline, Timer, TimerUnavailable, open_timer
from lapse.engine.timer import Finding
from lapse.testing.conformance import LONG, ago, ahead, wait_until
from lapse.testing.ports import free_port
from lapse.timers.rabbitmq import management, policies
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.management import QueuePolicy
from lapse.timers.rabbitmq.queues import Names
from tests.cli.running import run_here
from tests.timers.rabbitmq_vhost import VirtualHost


@pytest.fixture
def timer(vhost: VirtualHost, timer_name: str) -> Iterator[Timer]:
    """Open a timer in that virtual host."""
    with open_timer(vhost.url, name=timer_name) as timer:
        yield timer


def about_policies(timer: Timer) -> list[Finding]:
    """Return the check's findings about policies."""
    return [finding for finding in timer.check() if "polic" in finding.text]


def test_c11_a_policy_expires_on_all_queues(vhost: VirtualHost, timer: Timer) -> None:
    """1 of 3 delivered, and the check said ok. Now the check is BAD, and names the policy, its key and what it does."""
    timer.arm([Deadline("1", ahead(LONG))])
    assert [finding.fit for finding in about_policies(timer)] == [True]
    vhost.set_policy({"expires": 3_600_000})
    wait_until(lambda: any(not finding.fit for finding in timer.check()))
    (bad,) = about_policies(timer)
    assert not bad.fit
    assert bad.text.startswith("policy 'all' has expires=3600000 for lapse.")
    assert "more queues: it deletes a queue that no consumer has used for 3600000 ms" in bad.text
    assert r"'^(?!lapse\.)" in bad.text


def test_c11_every_policy_that_loses_deadlines_is_bad(vhost: VirtualHost, timer: Timer) -> None:
    """Each key has a sentence of its own, whether the policy or the operator policy has the key."""
    vhost.set_policy(
        {"message-ttl": 86_400_000, "overflow": "drop-head", "max-length": 9, "dead-letter-routing-key": "away"}
    )
    vhost.set_policy({"delivery-limit": 20, "expires": 7_200_000}, operator=True)
    bad = [finding.text for finding in about_policies(timer) if not finding.fit]
    for key in ("message-ttl=86400000", "overflow='drop-head'", "dead-letter-routing-key='away'", "delivery-limit=20"):
        assert sum(f"policy 'all' and 'all' has {key} for lapse." in text for text in bad) == 1, key
    assert len(bad) == 5


@pytest.mark.long
def test_policies_that_change_nothing_are_no_finding(vhost: VirtualHost, timer: Timer) -> None:
    """Lazy mode, mirroring and a dead-letter exchange of others do not apply to the timer's queues."""
    vhost.set_policy(
        {"queue-mode": "lazy", "ha-mode": "all", "dead-letter-exchange": "of-others", "overflow": "reject-publish"}
    )
    (finding,) = about_policies(timer)
    assert finding.fit
    assert finding.text.startswith("no policy makes the broker lose deadlines")


@pytest.mark.long
def test_a_limit_of_length_is_named_and_bad_only_when_reached(vhost: VirtualHost, timer: Timer) -> None:
    """A limit loses nothing. Once a queue is full, arming is refused, so the check says which queue that is."""
    vhost.set_policy({"max-length": 3})
    for number in range(6):
        try:
            timer.arm([Deadline(str(number), ago(5))])
        except TimerUnavailable:
            break
    wait_until(lambda: any(not finding.fit for finding in timer.check()))
    (bad,) = (finding for finding in about_policies(timer) if not finding.fit)
    assert "has max-length=3" in bad.text
    assert f"{Names(timer.name).due} is full now" in bad.text
    timer.settle(timer.claim(lease=LONG))
    wait_until(lambda: all(finding.fit for finding in timer.check()))
    assert any("no accepted deadline is dropped" in finding.text for finding in about_policies(timer))


@pytest.mark.parametrize("value", [-1, 2**31 - 1])
def test_a_delivery_limit_that_is_none_is_no_finding(value: int) -> None:
    """A negative number means no limit, and Lapse's own number is not reached."""
    assert not policies.HARMFUL["delivery-limit"][0](value)


def test_policies_are_not_checked_without_the_plugin(vhost: VirtualHost, timer_name: str) -> None:
    """The check does not leave them out: it says that they were not checked, and what to switch on."""
    with open_timer(
        f"{vhost.url_without_management}?management=http://127.0.0.1:{free_port()}", name=timer_name
    ) as timer:
        (finding,) = about_policies(timer)
    assert not finding.checked
    assert finding.text.startswith("whether policies make the broker lose deadlines; no management API")
    assert "rabbitmq-plugins enable rabbitmq_management" in finding.text
    assert "?management=" in finding.text


@pytest.mark.long
@pytest.mark.parametrize("address", ["the broker's own port", "another path", "TLS"])
def test_policies_are_not_checked_at_a_wrong_address(vhost: VirtualHost, timer_name: str, address: str) -> None:
    """The sentence names the address and the option, and has neither a traceback nor a password."""
    api = vhost.server.management_url
    wrong = {
        "the broker's own port": f"http://127.0.0.1:{vhost.server.port}",
        "another path": f"{api}/other",
        "TLS": api.replace("http:", "https:"),
    }[address]
    with open_timer(f"{vhost.url_without_management}?management={wrong}", name=timer_name) as timer:
        (finding,) = about_policies(timer)
    assert not finding.checked
    assert wrong in finding.text
    assert "?management=" in finding.text
    assert vhost.server.password not in finding.text


@pytest.mark.long
def test_policies_are_not_checked_without_rights(vhost: VirtualHost, timer_name: str) -> None:
    """An account of a shop rarely has the tag `management`. The sentence has the line that gives it."""
    vhost.add_user("shop", "geheim")
    vhost.permit("shop", r"^lapse\.", r"^(lapse\.|amq\.default$)", r"^lapse\.")
    with open_timer(vhost.url_of("shop", "geheim"), name=timer_name) as timer:
        (finding,) = about_policies(timer)
        assert not finding.checked
        assert "rabbitmqctl set_user_tags shop management" in finding.text
        assert "geheim" not in finding.text
        vhost.add_user("shop", "geheim", tags="management")
        (finding,) = about_policies(timer)
        assert finding.text.startswith("no policy makes the broker lose deadlines")


def test_policies_that_are_not_shown_yet_are_not_checked(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin shows the policies of a new queue after some seconds. The check waits, and then says so."""
    monkeypatch.setattr(management, "SHOWN_WITHIN", 0.0)
    (finding,) = about_policies(timer)
    assert not finding.checked
    assert "does not show the policies" in finding.text


@pytest.mark.parametrize(("size", "fit"), [(300, True), (1000, False)])
def test_a_queue_that_is_full_by_its_bytes_is_bad(monkeypatch: pytest.MonkeyPatch, size: int, *, fit: bool) -> None:
    """The bytes of the messages count, as their number does."""
    sizes, definition = {"max-length": 7, "max-length-bytes": size}, {"max-length-bytes": 1000}
    entries = [QueuePolicy("lapse.orders.due.v2", sizes, "'p'", definition)]
    monkeypatch.setattr(policies, "read_policies", lambda *_: entries)
    finding = policies.policy_findings(Address.parse("amqp://host"), Names("orders"))[-1]
    assert finding.fit == fit
    assert ("is full now" in finding.text) != fit


@pytest.mark.long
def test_the_command_says_bad_and_ends_with_1(vhost: VirtualHost, timer: Timer) -> None:
    """An operator sees one line for each policy that loses deadlines, and the exit code of a check that failed."""
    vhost.set_policy({"expires": 3_600_000})
    timer.generation()  # the queues are declared under the policy
    answer = run_here("check", vhost.url, "--name", timer.name)
    assert answer.returncode == 1
    (line,) = (line for line in answer.stdout.splitlines() if line.startswith("BAD"))
    assert line.startswith("BAD  policy 'all' has expires=3600000 for lapse.")
    assert vhost.server.password not in answer.stdout + answer.stderr


def test_queues_under_one_policy_share_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """28 queues under one policy are one sentence, not 28."""
    names = Names("orders")

    def read(*_: Any) -> list[QueuePolicy]:
        return [QueuePolicy(queue, {}, "'p'", {"expires": 60_000}) for queue in names.queues]

    monkeypatch.setattr(policies, "read_policies", read)
    (finding,) = policies.policy_findings(Address.parse("amqp://host"), names)
    assert f"expires=60000 for {names.generation} and 28 more queues: it" in finding.text
