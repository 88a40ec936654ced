"""Permissions and limits of RabbitMQ: each refusal is one sentence that names what to change."""

from collections.abc import Iterator

import pika
import pytest

from lapse import Deadline, TimerError, TimerRefused, TimerUnavailable, open_timer
from lapse.testing.conformance import LONG, ago, ahead, keys_of
from lapse.testing.servers import RabbitServer
from lapse.timers.rabbitmq import connection
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.queues import Names
from tests.timers.rabbitmq_vhost import VirtualHost


@pytest.fixture
def vhost(rabbit: RabbitServer, timer_name: str) -> Iterator[VirtualHost]:
    """Create a virtual host whose name stands in commands as it is."""
    vhost = VirtualHost(rabbit, f"{timer_name}-limits")
    yield vhost
    vhost.delete()


def refusal(url: str, name: str, kind: type[TimerError]) -> str:
    """Return the error of an arming that must be refused by an error of this kind. It is one line, without traces."""
    with open_timer(url, name=name) as timer, pytest.raises(kind) as refused:
        timer.arm([Deadline("1", ahead(LONG))])
    text = str(refused.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert "ConnectionClosedByBroker" not in text
    return text


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        (("", ".*", ".*"), "(configure is missing)"),
        ((".*", "^$", ".*"), "(write is missing)"),
        ((".*", r"^lapse\.", ".*"), "'amq.default'"),
        ((".*", ".*", ""), "read or write is missing)"),
    ],
    ids=["configure", "write", "the default exchange", "read"],
)
def test_a_missing_permission_is_named(
    vhost: VirtualHost, timer_name: str, granted: tuple[str, str, str], missing: str
) -> None:
    """The sentence names the permission, the object and the command that grants what a timer needs."""
    vhost.add_user("clerk", "geheim")
    vhost.permit("clerk", *granted)
    text = refusal(vhost.url_of("clerk", "geheim"), timer_name, TimerRefused)
    assert missing in text
    assert f"rabbitmqctl set_permissions -p {vhost.name} clerk '^lapse" in text
    assert "geheim" not in text


def test_the_permissions_of_the_advice_suffice(vhost: VirtualHost, timer_name: str) -> None:
    """The account of the advice arms, claims, buries, counts and checks."""
    vhost.add_user("clerk", "geheim")
    vhost.permit("clerk", r"^lapse\.", r"^(lapse\.|amq\.default$)", r"^lapse\.")
    with open_timer(vhost.url_of("clerk", "geheim"), name=timer_name) as timer:
        timer.arm([Deadline("1", ago(5)), Deadline("2", ahead(LONG))])
        assert timer.bury(timer.claim(lease=LONG), reason="test") == 1
        assert (timer.stats().pending, timer.stats().buried) == (1, 1)
        assert all(finding.fit for finding in timer.check())


def test_an_account_without_permissions_in_the_virtual_host(vhost: VirtualHost, timer_name: str) -> None:
    """The sentence has the command, not the name of an exception of a library."""
    vhost.add_user("guest-of-others", "geheim")
    text = refusal(vhost.url_of("guest-of-others", "geheim"), timer_name, TimerRefused)
    assert f"rabbitmqctl set_permissions -p {vhost.name} guest-of-others" in text


def test_a_virtual_host_that_does_not_exist(rabbit: RabbitServer, timer_name: str) -> None:
    """The sentence says how to create it."""
    assert "rabbitmqctl add_vhost" in refusal(f"{rabbit.url}/none", timer_name, TimerRefused)


@pytest.mark.parametrize(
    ("limit", "value"), [("max-queues", 1), ("max-queues", 8), ("max-connections", 0)], ids=["queues", "levels", "open"]
)
def test_a_limit_of_the_virtual_host_is_named(vhost: VirtualHost, timer_name: str, limit: str, value: int) -> None:
    """Workers go on trying, because there may be room later. The sentence names the limit and the command."""
    vhost.set_limit(limit, value)
    text = refusal(vhost.url, timer_name, TimerUnavailable)
    assert f"raise {limit} of the virtual host" in text
    assert "rabbitmqctl set_vhost_limits" in text


def test_a_limit_of_the_account_is_named(vhost: VirtualHost, timer_name: str) -> None:
    """A limit of the user is not taken for one of the virtual host."""
    vhost.add_user("few", "geheim")
    vhost.permit("few", ".*", ".*", ".*")
    vhost.request("PUT", "/api/user-limits/few/max-channels", {"value": 1})
    assert "max-channels of the user" in refusal(vhost.url_of("few", "geheim"), timer_name, TimerUnavailable)
    vhost.request("PUT", "/api/user-limits/few/max-connections", {"value": 0})
    assert "of the user (rabbitmqctl set_user_limits)" in refusal(
        vhost.url_of("few", "geheim"), timer_name, TimerUnavailable
    )


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_the_default_type_of_queues_changes_nothing(vhost: VirtualHost, timer_name: str, queue_type: str) -> None:
    """Every queue is declared with its type."""
    vhost.request("PUT", f"/api/vhosts/{vhost.name}", {"default_queue_type": queue_type})
    with open_timer(vhost.url_without_management, name=timer_name) as timer:
        timer.arm([Deadline("1", ago(5))])
        assert keys_of(timer.claim(lease=LONG)) == ["1"]
        assert all(finding.fit for finding in timer.check())


def test_an_alternate_exchange_by_policy_swallows_no_deadline(vhost: VirtualHost, timer_name: str) -> None:
    """A level was deleted, and the policy leads what has no queue elsewhere: arming is refused all the same."""
    operator = pika.BlockingConnection(Address.parse(vhost.url).parameters)
    channel = operator.channel()
    channel.exchange_declare("elsewhere", "fanout", durable=True)
    channel.queue_declare("elsewhere", durable=True)
    channel.queue_bind("elsewhere", "elsewhere")
    vhost.set_policy({"alternate-exchange": "elsewhere"})
    with open_timer(vhost.url, name=timer_name) as timer:
        timer.arm([Deadline("1", ahead(LONG))])
        channel.queue_delete(Names(timer_name).level(12))
        with pytest.raises(TimerUnavailable, match="NO_ROUTE"):
            timer.arm([Deadline("2", ahead(LONG))])
    assert channel.queue_declare("elsewhere", passive=True).method.message_count == 0
    operator.close()


def test_a_broker_that_is_too_old_is_refused(
    rabbit: RabbitServer, timer_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is declared: an older broker ignores some arguments, and would lose deadlines in silence."""
    monkeypatch.setattr(connection, "OLDEST", (99, 0))
    text = refusal(rabbit.url, timer_name, TimerRefused)
    assert f"is RabbitMQ {rabbit.version}: Lapse needs RabbitMQ" in text


@pytest.mark.parametrize(
    ("product", "version", "fit"),
    [
        ("RabbitMQ", "3.9.29", False),
        ("RabbitMQ", "3.10.0", True),
        ("RabbitMQ", "4.1.0-rc.1", True),
        ("VMware RabbitMQ", "3.13.2", True),
        ("LavinMQ", "2.1.0", False),
        ("", "", False),
    ],
)
def test_other_brokers_of_the_protocol_are_refused(product: str, version: str, *, fit: bool) -> None:
    """They accept the arguments of a quorum queue, and do not do what these say."""
    assert (connection._unfit({"product": product, "version": version}) == "") == fit
