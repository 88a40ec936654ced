"""A mistyped name of a timer on RabbitMQ: the command names those that exist, and declares nothing."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from lapse import Deadline, open_timer
from lapse.engine.timer import ListsNames
from lapse.testing.conformance import LONG, ahead
from lapse.testing.servers import RabbitServer
from tests.cli.running import run_here
from tests.timers.rabbitmq_vhost import VirtualHost

COMMANDS = [("stats",), ("stats", "--json"), ("buried", "list"), ("buried", "retry"), ("buried", "drop", "--all")]


@pytest.fixture(scope="module")
def vhost(rabbit: RabbitServer) -> Iterator[VirtualHost]:
    """Create a virtual host in which the timers orders and reminders have a deadline each."""
    vhost = VirtualHost(rabbit, "names/of timers")
    for name in ("orders", "reminders"):
        with open_timer(vhost.url, name=name) as timer:
            timer.arm([Deadline("1", ahead(LONG))])
    yield vhost
    vhost.delete()


def made(vhost: VirtualHost, name: str) -> list[str]:
    """Return the names of the queues and exchanges of a timer that the broker has."""
    kinds: list[list[dict[str, Any]]] = [
        vhost.request("GET", f"/api/{kind}/{quote(vhost.name, safe='')}?columns=name")
        for kind in ("queues", "exchanges")
    ]
    return [item["name"] for found in kinds for item in found if f".{name}." in item["name"]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_c14_a_mistyped_name_on_rabbitmq_is_refused_with_the_names_that_exist(
    vhost: VirtualHost, words: tuple[str, ...]
) -> None:
    """`lapse stats --name ordesr` declared queues and showed zeros: it is an error, and declares nothing."""
    done = run_here(*words, vhost.url, "--name", "ordesr")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no timer of the name 'ordesr' on this server; there are: 'orders', 'reminders'" in done.stderr
    assert made(vhost, "ordesr") == []
    assert made(vhost, "orders")
    assert run_here("stats", vhost.url, "--name", "orders").returncode == 0


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_c14_without_the_management_api_the_names_are_not_checked(vhost: VirtualHost, words: tuple[str, ...]) -> None:
    """AMQP tells whether the timer's own queues exist, and lists no others: this is said, with what to do."""
    done = run_here(*words, vhost.url_without_management, "--name", "ordesr")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no timer of the name 'ordesr' on this server" in done.stderr
    assert "not checked: which names exist, because no management API answers at http://" in done.stderr
    assert vhost.server.password not in done.stderr
    assert made(vhost, "ordesr") == []
    assert run_here("stats", vhost.url_without_management, "--name", "orders").returncode == 0


def test_c14_check_on_rabbitmq_declares_no_queue_under_a_mistyped_name(vhost: VirtualHost) -> None:
    """`lapse check` declared the queues of a mistyped name, which existed from then on. Now the name is BAD."""
    done = run_here("check", vhost.url, "--name", "ordesr")
    assert done.returncode == 1
    assert done.stdout.startswith("BAD  there is no timer of the name 'ordesr'")
    assert "The rest is not checked" in done.stdout
    assert made(vhost, "ordesr") == []
    assert "no timer of the name" not in run_here("check", vhost.url, "--name", "orders").stdout


def test_c14_a_broker_without_any_timer(rabbit: RabbitServer) -> None:
    """Before the first order there are zeros and a note, and still no queue."""
    vhost = VirtualHost(rabbit, "no names")
    try:
        done = run_here("stats", vhost.url)
        assert done.returncode == 0
        assert "no timer is on this server yet" in done.stderr
        assert made(vhost, "orders") == []
    finally:
        vhost.delete()


def test_c14_a_timer_with_queues_of_an_older_layout_is_known(vhost: VirtualHost) -> None:
    """After an upgrade a timer has only older queues until a process of the newer Lapse uses it: the name is right."""
    path = f"/api/queues/{quote(vhost.name, safe='')}/lapse.older.due"
    vhost.request("PUT", path, {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    with open_timer(vhost.url, name="older") as timer:
        assert isinstance(timer, ListsNames)
        assert timer.names().known
    vhost.request("DELETE", path)
