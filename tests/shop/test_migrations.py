"""Migrations that rename what a shop at work has stored."""

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection

from shop.console.models import WorkerHeartbeat
from shop.console.permissions import ensure_merchants

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


def _codenames() -> set[str]:
    """Return the codenames of the merchants' permissions."""
    return set(Group.objects.get(name="Merchants").permissions.values_list("codename", flat=True))
