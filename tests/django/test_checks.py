"""Each system check fires on a wrong set-up and is silent on the right one."""

from types import SimpleNamespace

import pytest
from django.core.checks import run_checks
from django.db import connections, router
from django.db.models import Q
from pytest_django import Settings

from lapse.integrations.django.checks.q_match import q_matches
from lapse.integrations.django.checks.setup import check_setup
from lapse.integrations.django.unpaid_orders import UnpaidOrders
from lapse.orders import LateMoney
from tests.django.wirings.cups import Cup, Detached
from tests.django.wirings.money import Bank, CupOrders


def ids(settings: Settings, orders: str | None = "lapsing.AdopterOrders") -> list[str | None]:
    """Check with that class and return the ids of what was found."""
    settings.LAPSE_ORDERS = orders and f"tests.django.adopter.{orders}"
    return [message.id for message in check_setup()]


def test_the_right_set_up_is_silent(settings: Settings) -> None:
    """Also when Django runs every check there is."""
    settings.LAPSE_TIMER = "redis://localhost:6379/0"
    assert ids(settings) == []
    assert [message for message in run_checks() if (message.id or "").startswith("lapse.")] == []


@pytest.mark.parametrize(
    ("orders", "found"),
    [
        (None, ["lapse.E001"]),
        ("nowhere.Orders", ["lapse.E001"]),
        ("wrong.Missing", ["lapse.E001"]),
        ("wrong.Unrelated", ["lapse.E001"]),
        ("wrong.NoModel", ["lapse.E001"]),
        ("wrong.NoSuchDeadline", ["lapse.E002"]),
        ("wrong.TextDeadline", ["lapse.E002"]),
        ("wrong.PlacedForDeadline", ["lapse.E002"]),
        ("wrong.UnindexedDeadline", ["lapse.E003"]),
        ("wrong.NoHook", ["lapse.E005"]),
        ("wrong.EmptyCondition", ["lapse.E007"]),
        ("wrong.ForeignCondition", ["lapse.E007"]),
        ("wrong.NoSuchField", ["lapse.E008"]),
        ("wrong.NoReasonField", ["lapse.E008"]),
        ("wrong.FunctionFails", ["lapse.E008"]),
        ("wrong.ByReason", []),
        ("wrong.ClosingForgotten", ["lapse.E009"]),
        ("wrong.ClosingForgottenByReason", ["lapse.E009"]),
        ("wrong.ReopenedForgotten", ["lapse.E009"]),
        ("wrong.ReopenedWithoutReason", ["lapse.E009"]),
        ("wrong.ReopenedNowhere", ["lapse.E008"]),
        ("wrong.Reopened", []),
        ("wrong.SharedKey", ["lapse.E010"]),
        ("wrong.LapsedNothing", ["lapse.E014"]),
        ("wrong.LapsedUnpaid", ["lapse.E015"]),
    ],
)
def test_a_wrong_class_is_found(settings: Settings, orders: str | None, found: list[str]) -> None:
    """One mistake, one message."""
    assert ids(settings, orders) == found


def test_a_connection_that_never_commits_is_refused(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """A worker would cancel orders, and roll all of it back when it stops."""
    monkeypatch.setitem(connections["default"].settings_dict, "AUTOCOMMIT", False)  # noqa: FBT003 - what the setting is
    assert ids(settings) == ["lapse.E021"]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        pytest.param({}, [], id="right"),
        pytest.param({"attempts": None}, ["lapse.W016"], id="attempts that the shop keeps by itself"),
        pytest.param({"attempts": Cup}, ["lapse.E016"], id="a model that is none of attempts"),
        pytest.param({"attempts": Detached}, ["lapse.E016"], id="attempts without an order"),
        pytest.param({"on_paid": UnpaidOrders.on_paid}, ["lapse.E016"], id="no way to pay"),
        pytest.param({"was_cancelled": UnpaidOrders.was_cancelled}, ["lapse.E016"], id="no way to see a cancel"),
        pytest.param({"reinstate": UnpaidOrders.reinstate}, ["lapse.E016"], id="no way to reinstate"),
        pytest.param({"reinstate": UnpaidOrders.reinstate, "late_money": LateMoney.REFUND}, [], id="refunds only"),
        pytest.param({"gateways": {"till": object()}}, ["lapse.E017"], id="a gateway that cannot refund"),
    ],
)
def test_a_shop_in_which_money_could_be_lost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], found: list[str]
) -> None:
    """It is refused before the first order, and a shop that looks for late money by itself is warned."""
    settings.LAPSE_ORDERS = "tests.django.wirings.money.CupOrders"
    monkeypatch.setattr(CupOrders, "gateways", {"bank": Bank()})
    for name, value in changes.items():
        monkeypatch.setattr(CupOrders, name, value)
    assert [message.id for message in check_setup()] == found


@pytest.mark.parametrize(
    ("zone", "found"), [("America/New_York", ["lapse.E004"]), ("Asia/Shanghai", []), ("UTC", []), ("Etc/GMT+5", [])]
)
def test_local_times_need_a_zone_whose_clocks_never_change(settings: Settings, zone: str, found: list[str]) -> None:
    """Without USE_TZ, a deadline in the hour that comes twice would mean two moments."""
    settings.USE_TZ, settings.TIME_ZONE = False, zone
    assert ids(settings) == found


@pytest.mark.parametrize(("zone", "found"), [("Europe/Berlin", ["lapse.E004"]), ("Asia/Shanghai", []), (None, [])])
def test_a_time_zone_of_the_database(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, zone: str | None, found: list[str]
) -> None:
    """SQLite and MySQL then store local times. PostgreSQL stores moments in every time zone."""
    address = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "TIME_ZONE": zone}
    monkeypatch.setitem(connections.settings, "local", connections.configure_settings({"default": address})["default"])
    monkeypatch.setattr(router, "routers", [SimpleNamespace(db_for_write=lambda *_, **__: "local")])
    assert ids(settings) == found
    del connections["local"]
    monkeypatch.undo()
    monkeypatch.setitem(connections["default"].settings_dict, "TIME_ZONE", zone)
    assert ids(settings) == []


def test_a_value_that_its_column_cannot_hold(settings: Settings) -> None:
    """Each is an error that names the value and the field; the reason "expired" is such a value as well."""
    settings.LAPSE_ORDERS = "tests.django.adopter.wrong.ValuesTooLarge"
    found = check_setup()
    assert [(message.id, message.msg.partition(" of Order")[0]) for message in found] == [
        ("lapse.E020", "`lapsed` writes 'cancelled by the timer' to 'status'"),
        ("lapse.E020", "`lapsed` writes 'tomorrow' to 'cancelled_at'"),
        ("lapse.E020", "`lapsed` writes None to 'code'"),
        ("lapse.E020", "`closing` writes datetime.datetime(2026, 1, 1, 0, 0) to 'cancelled_at'"),
    ]
    assert "at most 20 characters" in found[0].msg
    assert "no null=True" in found[2].msg


def test_a_word_for_a_foreign_key(settings: Settings) -> None:
    """In `lapsed`, and as the reason: the worker writes "expired"."""
    settings.LAPSE_ORDERS = "tests.django.adopter.wrong.KeyOfAnotherRow"
    assert [(message.id, message.msg.partition(" of ")[0]) for message in check_setup()] == [
        ("lapse.E020", "`lapsed` writes 'none' to 'sale'"),
        ("lapse.E020", "`reason_field` writes 'expired' to 'sale_id'"),
    ]


def test_a_value_that_is_no_choice(settings: Settings) -> None:
    """A warning: the column can hold the value."""
    settings.LAPSE_ORDERS = "tests.django.adopter.wrong.NoChoice"
    (found,) = check_setup()
    assert (found.id, "not one of its choices" in found.msg) == ("lapse.W020", True)


def test_b7_the_index_of_a_model_that_is_not_the_shops(settings: Settings) -> None:
    """A warning with the migration to write, because the shop cannot change the model's Meta."""
    settings.LAPSE_ORDERS = "tests.django.adopter.wrong.Foreign"
    (found,) = check_setup()
    assert found.id == "lapse.W003"
    assert isinstance(found.hint, str)
    create = 'CREATE INDEX lapse_last_login ON "auth_user" ("last_login")'
    assert f"migrations.RunSQL({create!r}, 'DROP INDEX lapse_last_login')" in found.hint
    assert "newest migration of 'auth'" in found.hint
    assert check_setup(databases=["default"]) == []  # the rehearsal looks into the database


def test_a_key_of_several_columns(settings: Settings) -> None:
    """Its str() is no key, so another field must be named."""
    settings.LAPSE_ORDERS = "tests.django.adopter.wrong.SeveralColumns"
    (found,) = check_setup()
    assert (found.id, found.hint) == ("lapse.E010", "Name a unique field in `key`, for example key = 'number'.")


@pytest.mark.parametrize("url", ["carrier-pigeon://loft", "localhost:6379", "/tmp/socket"])  # noqa: S108 - not opened
def test_a_timer_with_an_unknown_scheme_is_found(settings: Settings, url: str) -> None:
    """The scheme is checked; no server is asked."""
    settings.LAPSE_TIMER = url
    assert ids(settings) == ["lapse.E006"]


@pytest.mark.parametrize("url", ["reddis://:hunter2@localhost", "redis://:hunter2[@localhost"])
def test_no_check_repeats_a_password(settings: Settings, url: str) -> None:
    """A mistyped scheme, or a URL that cannot be read, is found without any part of the URL in the message."""
    settings.LAPSE_ORDERS = "tests.django.adopter.lapsing.AdopterOrders"
    settings.LAPSE_TIMER = url
    (message,) = check_setup()
    assert message.id == "lapse.E006"
    assert "hunter2" not in f"{message.msg} {message.hint}"


@pytest.mark.parametrize("url", [None, "", "none", "redis+expiry://localhost", "memory://"])
def test_known_timers_and_none_are_fine(settings: Settings, url: str | None) -> None:
    """The sweep alone is a set-up too."""
    settings.LAPSE_TIMER = url
    assert ids(settings) == []


@pytest.mark.parametrize("path", ["nowhere.hook", "tests.django.adopter.nothing", "tests.settings.DATABASES"])
def test_a_hook_that_is_none_is_found(settings: Settings, path: str) -> None:
    """Before a worker is started with it."""
    settings.LAPSE_HOOKS = [path]
    assert ids(settings) == ["lapse.E011"]


@pytest.mark.parametrize("path", ["lapse.engine.events.log_event", "lapse.observability.logs.LogHook"])
def test_a_hook_is_a_function_or_a_class(settings: Settings, path: str) -> None:
    """Of a class there is one instance per worker."""
    settings.LAPSE_HOOKS = [path]
    assert ids(settings) == []


@pytest.mark.parametrize(
    ("condition", "answer"),
    [
        (Q(status="closed"), True),
        (Q(status="open"), False),
        (~Q(status="open"), True),
        (Q(status__in=["open", "closed"]), True),
        (Q(status__startswith="c"), None),
        (Q(paid_at__isnull=True), True),
        (Q(paid_at=None, total=3), None),
        (Q(status="open", total=3), False),
        (Q(status="closed") | Q(total=3), True),
        (Q(status="open") | Q(total=3), None),
        (Q(status="closed") ^ Q(total=3), None),
    ],
)
def test_what_can_be_seen_without_a_database(condition: Q, answer: bool | None) -> None:
    """Three answers: it matches, it does not, or that cannot be seen."""
    assert q_matches(condition, {"status": "closed", "paid_at": None}) is answer
