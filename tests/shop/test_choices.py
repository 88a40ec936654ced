"""LAPSE_TIMER in `make run`: which servers are started, and which URL the timer gets."""

from pathlib import Path

import pytest

from shop.running import choices
from shop.running.choices import WrongChoice

OURS = {
    "rabbitmq": "amqp://lapse:secret@127.0.0.1:5673",
    "mysql": "mysql://root@127.0.0.1:3307/lapse",
    "postgresql": "postgresql://postgres@/postgres?host=/sockets",
    "redis": "redis://127.0.0.1:6390/0",
}


@pytest.mark.parametrize(
    ("timer", "starts", "url"),
    [
        ("", ["PostgreSQL", "Redis"], "redis://127.0.0.1:6390/0"),
        ("redis+expiry://", ["PostgreSQL", "Redis"], "redis+expiry://127.0.0.1:6390/0"),
        ("postgresql://", ["PostgreSQL"], "postgresql://postgres@/postgres?host=/sockets"),
        ("postgres://", ["PostgreSQL"], "postgresql://postgres@/postgres?host=/sockets"),
        ("amqp://", ["PostgreSQL", "RabbitMQ"], "amqp://lapse:secret@127.0.0.1:5673"),
        ("mysql://", ["PostgreSQL", "MariaDB"], "mysql://root@127.0.0.1:3307/lapse"),
        ("mariadb://", ["PostgreSQL", "MariaDB"], "mysql://root@127.0.0.1:3307/lapse"),
        ("apscheduler+redis://", ["PostgreSQL", "Redis"], "apscheduler+redis://127.0.0.1:6390/0"),
        ("apscheduler+postgresql://", ["PostgreSQL"], "apscheduler+postgresql://postgres@/postgres?host=/sockets"),
        ("apscheduler+sqlite://", ["PostgreSQL"], "apscheduler+sqlite:////run/timer/deadlines.sqlite3"),
        ("sqlite://", ["PostgreSQL"], "sqlite:////run/timer/deadlines.sqlite3"),
        ("sqlite:///", ["PostgreSQL"], "sqlite:////run/timer/deadlines.sqlite3"),
        ("sqlite:///other.db", ["PostgreSQL"], "sqlite:///other.db"),
        ("redis://there:1/0", ["PostgreSQL"], "redis://there:1/0"),
        ("none", ["PostgreSQL"], "none"),
    ],
)
def test_a_bare_scheme_is_on_a_server_of_this_run(timer: str, starts: list[str], url: str) -> None:
    """Any other URL stays as it is, and no server is started that the run does not need."""
    chosen = choices.read({"LAPSE_TIMER": timer, "LAPSE_RUN_DIR": "/run"}, Path("/"))
    assert [own.name for own in chosen.to_start] == starts
    assert chosen.timer_url(OURS) == url


@pytest.mark.parametrize(
    ("timer", "redis", "url"),
    [
        ("redis://", "rediss://:secret@example.org:6379/0", "rediss://:secret@example.org:6379/0"),
        ("redis+expiry://", "rediss://:secret@example.org:6379/0", "rediss+expiry://:secret@example.org:6379/0"),
        ("redis+expiry://", "redis+cluster://example.org:7000", "redis+expiry+cluster://example.org:7000"),
    ],
)
def test_servers_of_others_keep_their_password_and_their_kind(timer: str, redis: str, url: str) -> None:
    """The mechanism's words are added to the scheme, and the server's words stay."""
    chosen = choices.read(
        {"LAPSE_TIMER": timer, "REDIS_URL": redis, "DATABASE_URL": "postgresql://there/shop"}, Path("/")
    )
    assert chosen.to_start == []
    assert chosen.timer_url(chosen.given) == url


@pytest.mark.parametrize("timer", ["memory://", "memory://1", "redis", "cron://", "cron://there"])
def test_what_cannot_be_is_refused(timer: str) -> None:
    """A wrong LAPSE_TIMER is an error that lists the possible schemes."""
    with pytest.raises(WrongChoice, match="LAPSE_TIMER"):
        choices.read({"LAPSE_TIMER": timer}, Path("/"))
