"""Errors of RabbitMQ and of its URL: each message says what to change, without a password. Lost queues come back."""

import ssl
import subprocess
import sys
from collections.abc import Iterator

import pika
import pytest

from lapse import ConfigError, Deadline, Timer, TimerRefused, TimerUnavailable, open_timer
from lapse.testing.conformance import LONG, PATIENCE, ago, ahead, keys_of
from lapse.testing.servers import RabbitServer
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.queues import RESTORES, Names
from tests.certificate import Certificate


@pytest.fixture
def timer(rabbit: RabbitServer, timer_name: str) -> Iterator[Timer]:
    """Open a timer of the test's own."""
    with open_timer(rabbit.url, name=timer_name) as timer:
        yield timer


@pytest.fixture
def channel(rabbit: RabbitServer) -> Iterator[pika.channel.Channel]:
    """Open a channel beside the timer, for an operator's actions."""
    connection = pika.BlockingConnection(Address.parse(rabbit.url).parameters)
    yield connection.channel()
    connection.close()


def test_a_wrong_password_is_refused_and_not_repeated(rabbit: RabbitServer, timer_name: str) -> None:
    """The message says what to check, and contains neither the right password nor the wrong one."""
    wrong = open_timer(rabbit.url.replace(rabbit.password, "geheim"), name=timer_name)
    with pytest.raises(TimerRefused, match="password") as refused:
        wrong.arm([Deadline("1", ago(1))])
    assert "geheim" not in str(refused.value)
    assert rabbit.password not in str(refused.value)


def test_an_unknown_virtual_host_is_refused(rabbit: RabbitServer, timer_name: str) -> None:
    """Trying again would not create it."""
    with pytest.raises(TimerRefused, match="virtual host"):
        open_timer(f"{rabbit.url}/none", name=timer_name).claim()


def test_a_port_of_another_protocol_is_named(rabbit_by_tls: str, timer_name: str) -> None:
    """Plain AMQP at the port for TLS is an error that names the address."""
    plain = rabbit_by_tls.replace("amqps", "amqp")
    with pytest.raises((TimerRefused, TimerUnavailable), match=f"localhost:{plain.rpartition(':')[2]}"):
        open_timer(plain, name=timer_name).claim()


@pytest.mark.parametrize(
    "url",
    [
        "amqp://",
        "amqp://host:port",
        "amqp://host/a/b",
        "amqp://host?heartbeat=0",
        "amqp://host?heartbeat=no",
        "amqp://host?speed=high",
        "amqp://user:pass#word@host",
        "amqps://host?cafile=/none",
        "amqp://host?management=host:15672",
        "amqp://host?management=http://me:geheim@host:15672",
        "amqp://host?management=http://host:port",
    ],
)
def test_a_wrong_url_is_a_wrong_setting(url: str) -> None:
    """ConfigError is raised before anything is sent."""
    with pytest.raises(ConfigError, match=r"amqps?:// URL") as refused:
        open_timer(url, name="orders")
    assert "geheim" not in str(refused.value)


def test_a_url_sets_account_virtual_host_and_heartbeat() -> None:
    """Each is the URL's, unquoted, or the default."""
    given = Address.parse("amqp://me%40shop:p%2Fw@broker:5673/%2Fshop?heartbeat=4").parameters
    account = (given.credentials.username, given.credentials.password)
    assert (given.host, given.port, given.virtual_host, given.heartbeat) == ("broker", 5673, "/shop", 4)
    assert account == ("me@shop", "p/w")
    assert Address.parse("amqp://broker").management == "http://broker:15672"
    assert Address.parse("amqps://[::1]").management == "https://[::1]:15671"
    assert Address.parse("amqp://broker?management=https://ui:443/mq/").management == "https://ui:443/mq"
    default = Address.parse("amqps://broker").parameters
    assert (default.port, default.virtual_host, default.heartbeat) == (5671, "/", 10)
    assert default.credentials.username == "guest"
    assert default.ssl_options.context.verify_mode == ssl.CERT_REQUIRED


def test_deleted_queues_are_declared_again_as_a_new_generation(timer: Timer, channel: pika.channel.Channel) -> None:
    """Arming raises once where the queue is missing, then works. The generation changes, so workers arm all again."""
    timer.arm([Deadline("1", ago(5))])
    before = timer.generation()
    channel.queue_delete(Names(timer.name).due)
    with pytest.raises(TimerUnavailable, match="NO_ROUTE"):
        timer.arm([Deadline("2", ago(5))])
    with pytest.raises(TimerUnavailable):
        timer.claim()
    timer.arm([Deadline("2", ago(5))])
    assert keys_of(timer.claim()) == ["2"]
    assert timer.generation() != before


def test_c11_a_queue_of_buried_deadlines_that_a_policy_deleted_is_declared_again(
    timer: Timer, channel: pika.channel.Channel
) -> None:
    """No consumer uses this queue, so `expires` deletes it first; then nothing could be buried any more, or counted."""
    timer.arm([Deadline("1", ago(5))])
    claims = timer.claim(wait=PATIENCE, lease=LONG)
    channel.queue_delete(Names(timer.name).buried)
    with pytest.raises(TimerUnavailable):
        timer.bury(claims, reason="test")
    timer.bury(timer.claim(wait=PATIENCE, lease=LONG), reason="test")
    assert [buried.key for buried in timer.buried()] == ["1"]
    assert timer.stats().buried == 1


@pytest.mark.parametrize("what", ["queue", "exchange"])
def test_a_deleted_level_is_declared_again(timer: Timer, channel: pika.channel.Channel, what: str) -> None:
    """No deadline counts as armed that no queue holds."""
    timer.arm([Deadline("1", ahead(LONG))])
    if what == "queue":
        channel.queue_delete(Names(timer.name).level(12))
    else:
        channel.exchange_delete(Names(timer.name).level(12))
    with pytest.raises(TimerUnavailable):
        timer.arm([Deadline("2", ahead(LONG))])
    timer.arm([Deadline("2", ahead(LONG))])
    assert timer.stats().pending == (1 if what == "queue" else 2)


def test_a_queue_of_another_kind_is_refused(
    timer_name: str, rabbit: RabbitServer, channel: pika.channel.Channel
) -> None:
    """The message names the queue."""
    channel.queue_declare(Names(timer_name).buried, durable=True)
    with open_timer(rabbit.url, name=timer_name) as timer, pytest.raises(TimerRefused, match=r"buried.*delete"):
        timer.arm([Deadline("1", ago(5))])


def test_a_foreign_message_is_dropped_and_logged(
    timer: Timer, channel: pika.channel.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not claimed, and blocks no other message."""
    timer.arm([Deadline("1", ago(5))])
    for body in (b"hello", b"{}", b'{"key":"","due":1,"at":1,"armed":1,"token":1}', b"[]", b'{"key":"x","due":"y"}'):
        channel.basic_publish("", Names(timer.name).due, body)
    timer.arm([Deadline("2", ago(4))])
    assert keys_of(timer.claim(lease=LONG)) == ["1", "2"]
    assert timer.claim() == []
    assert caplog.text.count("that Lapse did not write") == 5


def test_deadlines_are_restored_a_few_times_only(rabbit: RabbitServer, timer_name: str) -> None:
    """Workers that start again and again restore all orders: the broker does not fill up with copies."""
    orders = [Deadline(str(number), ahead(LONG)) for number in range(10)]
    for _ in range(RESTORES + 3):
        with open_timer(rabbit.url, name=timer_name) as worker:
            worker.arm(orders, only_unknown=True)
            worker.arm(orders, only_unknown=True)  # a second try of the same worker adds no copies
    with open_timer(rabbit.url, name=timer_name) as timer:
        assert timer.stats().pending == RESTORES * len(orders)


def test_a_fork_has_a_connection_of_its_own(rabbit: RabbitServer, timer_name: str) -> None:
    """Parent and child both go on with the handle that was opened before the fork."""
    program = """
import os, sys
from datetime import UTC, datetime
from lapse import Deadline, open_timer
past = datetime(2020, 1, 1, tzinfo=UTC)
timer = open_timer(sys.argv[1], name=sys.argv[2])
timer.arm([Deadline("before", past)])
child = os.fork()
timer.arm([Deadline("parent" if child else "child", past)])
if child:
    assert os.waitpid(child, 0)[1] == 0
    claims = timer.claim()
    print(sorted(claim.key for claim in claims), timer.settle(claims))
timer.close()
"""
    command = [sys.executable, "-c", program, rabbit.url, timer_name]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout == "['before', 'child', 'parent'] 3\n"


def test_by_tls(rabbit: RabbitServer, rabbit_by_tls: str, rabbit_certificate: Certificate, timer_name: str) -> None:
    """amqps:// works only with a certificate that the URL names as trusted. TLS and plain handles share one timer."""
    with open_timer(f"{rabbit_by_tls}?cafile={rabbit_certificate.file}", name=timer_name) as timer:
        timer.arm([Deadline("1", ago(5))])
        with open_timer(rabbit.url, name=timer_name) as other:
            assert keys_of(other.claim()) == ["1"]
    with pytest.raises(TimerRefused, match="cafile"):
        open_timer(rabbit_by_tls, name=timer_name).claim()
