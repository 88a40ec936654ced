"""Migrations that rename what a shop at work has stored."""

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection

from lapse.integrations.django import unpaid_orders
from shop.catalogue.models import Product
from shop.console.models import WorkerHeartbeat
from shop.console.permissions import ensure_merchants
from shop.orders.models import AuditEntry
from shop.payments.models import GatewayMessage, PaymentAttempt
from tests.shop.rehearsal import assert_no_drift, order_of

VIEW = "view_workerheartbeat"


@pytest.mark.django_db(transaction=True)
def test_a_renamed_model_keeps_its_rows_and_its_permissions() -> None:
    """Workers' rows and the merchants' permission survive the way back to WorkerPulse and forward again."""
    ensure_merchants()
    WorkerHeartbeat.objects.create(host="here", pid=7, mechanism="memory")
    call_command("migrate", "console", "0001", verbosity=0)
    try:
        assert _codenames() >= {"view_workerpulse"}
        with connection.cursor() as cursor:
            cursor.execute("SELECT pid FROM console_workerpulse")
            assert cursor.fetchall() == [(7,)]
    finally:
        call_command("migrate", "console", verbosity=0)
    assert VIEW in _codenames()
    assert "view_workerpulse" not in _codenames()
    assert WorkerHeartbeat.objects.get().pid == 7


@pytest.mark.django_db(transaction=True)
def test_payments_from_before_keep_their_numbers_and_their_money(buyer: User, cup: Product) -> None:
    """Attempts of an older shop keep their numbers. Paid ones know the amount, and money to give back is asked for."""
    old = {"pending": "", "closed": "", "succeeded": "t1", "orphaned": "t2"}
    orders = {state: order_of(buyer, cup) for state in old}
    call_command("migrate", "payments", "0002", verbosity=0)
    try:
        with connection.cursor() as cursor:
            for state, number in old.items():
                cursor.execute(
                    "INSERT INTO payments_paymentattempt (order_id, out_trade_no, trade_no, gateway, amount, state,"
                    " changed_at) VALUES (%s, %s, %s, 'alipay', 58, %s, now() - interval '9 days')",
                    [orders[state].pk, f"a-{state}", number, state],
                )
            cursor.execute(
                "INSERT INTO payments_gatewaymessage (provider, judged, out_trade_no, trade_no, trade_status, raw,"
                " digest) VALUES ('alipay', 'accepted', 'a-succeeded', 't1', 'TRADE_SUCCESS', 'raw', 'd')"
            )
    finally:
        call_command("migrate", "payments", verbosity=0)
    found = {attempt.state: attempt for attempt in PaymentAttempt.objects.all()}
    assert {state: attempt.reference for state, attempt in found.items()} == {state: f"a-{state}" for state in old}
    assert {state: attempt.provider_reference for state, attempt in found.items()} == old
    assert [state for state, attempt in found.items() if attempt.paid == 58] == ["succeeded", "orphaned"]
    assert [state for state, attempt in found.items() if attempt.ask_at] == ["pending", "orphaned"]
    message = GatewayMessage.objects.get()
    assert (message.reference, message.provider_reference, message.status) == ("a-succeeded", "t1", "TRADE_SUCCESS")
    assert message.refunded == 0


OLD = [
    ("placed", "buyer 7"),
    ("payment begun", "buyer 7"),
    ("closing: buyer", "buyer 7"),
    ("cancelled: buyer", "timer"),
    ("refund due: 58.00", "gateway alipay"),
    ("alarm removed: two payments: 1 and 2", "merchant 3"),
    ("refunded: 58.00", "gateway alipay"),
]
"""The audit trail of one order as an older shop wrote it: what, who."""


@pytest.mark.django_db(transaction=True)
def test_the_old_audit_trail_is_read_into_columns(buyer: User, cup: Product) -> None:
    """Each entry has its states, reason, actor and amounts, the audit agrees, and the way back has the same texts."""
    order = order_of(buyer, cup)
    unpaid_orders().cancel([order], by="buyer 7", reason="buyer")
    AuditEntry.objects.all().delete()
    call_command("migrate", "orders", "0003", verbosity=0)
    try:
        with connection.cursor() as cursor:
            rows = [(order.pk, *texts) for texts in OLD]
            cursor.executemany("INSERT INTO orders_auditentry (order_id, what, who) VALUES (%s, %s, %s)", rows)
    finally:
        call_command("migrate", "orders", verbosity=0)
    columns = ("what", "before", "after", "reason", "actor", "actor_id", "amount", "refunded", "detail")
    assert list(AuditEntry.objects.values_list(*columns)) == [
        ("placed", "", "awaiting_payment", "", "buyer", "7", 58, None, ""),
        ("opened", "", "created", "", "buyer", "7", 58, None, ""),
        ("closing", "awaiting_payment", "closing", "buyer", "buyer", "7", 58, None, ""),
        ("cancelled", "closing", "cancelled", "buyer", "timer", "", 58, None, ""),
        ("attempt", "", "orphaned", "", "gateway", "alipay", 58, None, ""),
        ("alarm_removed", "", "", "", "merchant", "3", None, None, "two payments: 1 and 2"),
        ("refunded", "", "", "", "gateway", "alipay", None, 58, ""),
    ]
    assert_no_drift()
    call_command("migrate", "orders", "0003", verbosity=0)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT what, who FROM orders_auditentry ORDER BY id")
            assert cursor.fetchall() == OLD
    finally:
        call_command("migrate", "orders", verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_an_event_that_the_shop_never_wrote_stops_the_migration(buyer: User, cup: Product) -> None:
    """The error names it, and nothing is changed; once it is gone, the migration runs."""
    order = order_of(buyer, cup)
    call_command("migrate", "orders", "0003", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders_auditentry (order_id, what, who) VALUES (%s, 'packed', 'clerk')", [order.pk])
        with pytest.raises(RuntimeError, match=r"never wrote: 'packed'\. Nothing was changed"):
            call_command("migrate", "orders", verbosity=0)
        cursor.execute("DELETE FROM orders_auditentry WHERE what = 'packed'")
    call_command("migrate", "orders", verbosity=0)
    assert_no_drift()


def _codenames() -> set[str]:
    """Return the codenames of the merchants' permissions."""
    return set(Group.objects.get(name="Merchants").permissions.values_list("codename", flat=True))
