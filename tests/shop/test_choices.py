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
        ("", ["postgresql", "redis"], "redis://127.0.0.1:6390/0"),
        ("redis+expiry://", ["postgresql", "redis"], "redis+expiry://127.0.0.1:6390/0"),
        ("postgresql://", ["postgresql"], "postgresql://postgres@/postgres?host=/sockets"),
        ("postgres://", ["postgresql"], "postgresql://postgres@/postgres?host=/sockets"),
        ("amqp://", ["postgresql", "rabbitmq"], "amqp://lapse:secret@127.0.0.1:5673"),
        ("mysql://", ["postgresql", "mysql"], "mysql://root@127.0.0.1:3307/lapse"),
        ("mariadb://", ["postgresql", "mysql"], "mysql://root@127.0.0.1:3307/lapse"),
        ("apscheduler+redis://", ["postgresql", "redis"], "apscheduler+redis://127.0.0.1:6390/0"),
        ("apscheduler+postgresql://", ["postgresql"], "apscheduler+postgresql://postgres@/postgres?host=/sockets"),
        ("apscheduler+sqlite://", ["postgresql"], "apscheduler+sqlite:////run/timer/deadlines.sqlite3"),
        ("sqlite://", ["postgresql"], "sqlite:////run/timer/deadlines.sqlite3"),
        ("sqlite:///", ["postgresql"], "sqlite:////run/timer/deadlines.sqlite3"),
        ("sqlite:///other.db", ["postgresql"], "sqlite:///other.db"),
        ("redis://there:1/0", ["postgresql"], "redis://there:1/0"),
        ("none", ["postgresql"], "none"),
    ],
)
def test_a_bare_scheme_is_on_a_server_of_this_run(timer: str, starts: list[str], url: str) -> None:
    """Any other URL stays as it is, and no server is started that the run does not need."""
    chosen = choices.read({"LAPSE_TIMER": timer, "LAPSE_RUN_DIR": "/run"}, Path("/"))
    assert [own.store for own in chosen.to_start] == starts
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("LAPSE_TIMER", timer) for timer in ("memory://", "memory://1", "redis", "cron://", "cron://there")),
        *(("LAPSE_PAYMENT_WINDOW", window) for window in ("soon", "nan", "0")),
        *(
            ("LAPSE_PAYMENT_WINDOWS", windows)
            for windows in ("alipay=soon", "alipay=7", "cash=30m", "alipay", "alipay=1m,alipay=2m", "alipay=400d")
        ),
        ("LAPSE_PAYMENT_WINDOW", "7.9"),
        ("LEAST_TIME_TO_PAY", "soon"),
        ("ALIPAY_SIMULATOR_PORT", "x"),
        ("SHOP_GATEWAY", "cash"),
        ("REDIS_URL", "localhost:6379"),
        ("LAPSE_TIMER", "reddis://:geheim/x@there/0"),
        ("LAPSE_TIMER", "redis://:geheim/x@there/0"),
        ("LAPSE_TIMER", "redis://there/0?shard=4"),
        ("REDIS_URL", "redis://:gehe[im@there/0"),
        ("DATABASE_URL", "postgresql://me:geheim/x@there/shop"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: str) -> None:
    """A wrong setting is an error that begins with its name, and shows no part of a password."""
    with pytest.raises(WrongChoice, match=f"^{name}") as refused:
        choices.read({name: value}, Path("/"))
    assert "gehe" not in str(refused.value)


@pytest.mark.parametrize("timer", ["rediss://", "rediss+expiry://", "apscheduler+rediss://"])
@pytest.mark.parametrize("redis", ["", "redis://example.org:6379/0"])
def test_tls_is_refused_where_the_server_has_none(timer: str, redis: str) -> None:
    """A bare scheme with TLS on a server without TLS was opened without TLS, and no message said so."""
    with pytest.raises(WrongChoice, match=r"asks for TLS, but .* REDIS_URL=rediss://"):
        choices.read({"LAPSE_TIMER": timer, "REDIS_URL": redis}, Path("/"))
    encrypted = choices.read({"LAPSE_TIMER": timer, "REDIS_URL": "rediss://example.org:6380/0"}, Path("/"))
    assert encrypted.timer_url(encrypted.given) == f"{timer}example.org:6380/0"


def test_m12_a_window_in_which_no_order_can_be_paid_is_refused() -> None:
    """Alipay's link ends up to 3 s before the deadline, and a buyer needs time. The development button needs none."""
    with pytest.raises(WrongChoice, match="at least 8 s"):
        choices.read({"LAPSE_PAYMENT_WINDOWS": "alipay=7s", "LAPSE_PAYMENT_WINDOW": "60"}, Path("/"))
    for fits in (
        {"LAPSE_PAYMENT_WINDOW": "8"},
        {"LAPSE_PAYMENT_WINDOW": "4", "LEAST_TIME_TO_PAY": "1"},
        {"LAPSE_PAYMENT_WINDOW": "1", "LAPSE_PAYMENT_WINDOWS": "alipay=30m, development=2"},
        {"LAPSE_PAYMENT_WINDOW": "0.5", "SHOP_GATEWAY": "development"},
    ):
        assert choices.read(fits, Path("/")).window == fits["LAPSE_PAYMENT_WINDOW"]
