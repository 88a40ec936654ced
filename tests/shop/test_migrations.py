"""Migrations that rename what a shop at work has stored."""

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection

from shop.catalogue.models import Product
from shop.console.models import WorkerHeartbeat
from shop.console.permissions import ensure_merchants
from shop.payments.models import GatewayMessage, PaymentAttempt
from tests.shop.rehearsal import order_of

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


def _codenames() -> set[str]:
    """Return the codenames of the merchants' permissions."""
    return set(Group.objects.get(name="Merchants").permissions.values_list("codename", flat=True))
