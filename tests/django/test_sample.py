"""The rehearsal looks at the newest orders: a condition that misses them without a word is warned of."""

import pytest
from django.db.models import Q

from lapse.integrations.django.checks.rehearsal import rehearse
from tests.django.wirings.bills import Bills
from tests.django.wirings.models import Bill, BillLine

pytestmark = pytest.mark.usefixtures("database")


def warned(**attributes: object) -> list[str]:
    """Rehearse with these attributes; return the warnings' ids and texts."""
    orders = type("Changed", (Bills,), attributes)()
    return [f"{found.id}: {found.msg} {found.hint}" for found in rehearse(orders) if "W03" in str(found.id)]


@pytest.mark.parametrize("unpaid", [Q(status="Awaiting"), Q(status__in=["new", "awaiting "]), Q(Q(status="AWAITING"))])
def test_a_status_in_other_letters(unpaid: Q) -> None:
    """The orders have "awaiting", so none would ever lapse."""
    assert warned(unpaid=unpaid) == []  # nothing can be said of a shop without orders
    Bill.objects.create()
    (warning,) = warned(unpaid=unpaid)
    assert warning.startswith("lapse.W037")
    assert "'awaiting'" in warning
    assert warned() == []
    assert warned(unpaid=Q(status__in=["awaiting", "new"])) == []


def test_a_row_that_an_order_does_not_have() -> None:
    """An order without a line never matches a condition on its lines."""
    condition = Q(status="awaiting", lines__status="pending")
    BillLine.objects.create(bill=Bill.objects.create())
    assert warned(unpaid=condition, lock=("lines",)) == []
    Bill.objects.create()
    (warning,) = warned(unpaid=condition, lock=("lines",))
    assert warning.startswith("lapse.W038")
    assert "1 of the newest 2 orders" in warning
    assert warned(unpaid=condition | Q(paid=False), lock=("lines",)) == []  # the other part matches such an order
