"""An order of Oscar lapses by Oscar's own transition, or is paid; its stock comes back once."""

from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model
from django.db.models.signals import post_save
from django.urls import reverse
from lapse.integrations.django import NotUnpaid, timer, unpaid_orders
from lapse.orders import Outcome
from oscar.apps.order.signals import order_status_changed
from oscar.core.loading import get_class, get_model

from oscarshop.paying import WrongAmount, pay
from shopping import Order, StockRecord, allocated, assert_books_agree, due_in, in_stock, place, product

EventHandler = get_class("order.processing", "EventHandler")
Country = get_model("address", "Country")

pytestmark = pytest.mark.django_db(transaction=True)


def lapse(order):
    """Lapse the order if it is due, and return what became of it."""
    return unpaid_orders().lapse([order.number])[order.number].outcome


@pytest.fixture
def signals():
    """Return a list of the changes of status that Oscar sends."""
    received = []

    def receive(order, old_status, new_status, **_):
        received.append((order.number, old_status, new_status))

    order_status_changed.connect(receive)
    yield received
    order_status_changed.disconnect(receive)


def test_an_order_lapses_once(signals):
    """Statuses, the signal, the recorded change and the note are Oscar's own; the allocation is back once."""
    tea, cup = product("tea"), product("cup")
    order = due_in(place({tea: 2, cup: 1}), -1)
    assert (allocated(tea), allocated(cup)) == (2, 1)
    assert [lapse(order), lapse(order)] == [Outcome.LAPSED, Outcome.NOT_UNPAID]
    order.refresh_from_db()
    assert order.status == "Cancelled"
    assert [(line.status, line.allocation_cancelled) for line in order.lines.all()] == [("Cancelled", True)] * 2
    assert signals == [(order.number, "Pending", "Cancelled")]
    assert [(change.old_status, change.new_status) for change in order.status_changes.all()] == [
        ("Pending", "Cancelled")
    ]
    assert [note.message for note in order.notes.all()] == ["It was not paid in time."]
    assert (allocated(tea), allocated(cup), in_stock(tea)) == (0, 0, 1000)


def test_an_order_does_not_lapse_before_its_time():
    """An order that was just placed is not due."""
    order = place({product(): 1})
    assert lapse(order) is Outcome.NOT_DUE
    assert lapse(due_in(order, 5)) is Outcome.NOT_DUE
    assert lapse(due_in(order, -0.1)) is Outcome.LAPSED


def test_a_paid_order_keeps_its_stock():
    """The money, the event and the statuses are recorded; a lapse changes nothing; dispatch takes it from the stock."""
    tea = product()
    order = due_in(place({tea: 2}), -1)  # overdue and still unpaid: it can be paid
    pay(order.number, Decimal("7.00"), "visa-1")
    pay(order.number, Decimal("7.00"), "visa-1")  # the gateway notifies once more
    assert lapse(order) is Outcome.NOT_UNPAID
    order.refresh_from_db()
    assert order.status == "Being processed"
    assert [source.amount_debited for source in order.sources.all()] == [Decimal("7.00")]
    assert [event.amount for event in order.payment_events.all()] == [Decimal("7.00")]
    assert_books_agree()
    EventHandler().handle_order_status_change(order, "Dispatched")
    EventHandler().consume_stock_allocations(order)
    assert (allocated(tea), in_stock(tea)) == (0, 998)


def test_money_that_comes_too_late_is_refused():
    """A cancelled order takes no money, and neither does an order that another payment has paid."""
    tea = product()
    late, paid = due_in(place({tea: 1}), -1), place({tea: 1})
    lapse(late)
    pay(paid.number, Decimal("3.50"), "visa-1")
    for order in (late, paid):
        with pytest.raises(NotUnpaid):
            pay(order.number, Decimal("3.50"), "visa-2")
    assert_books_agree()


def test_the_wrong_amount_changes_nothing():
    """The order stays unpaid, and lapses later."""
    order = due_in(place({product(): 1}), -1)
    with pytest.raises(WrongAmount):
        pay(order.number, Decimal("0.01"), "visa-1")
    assert not order.sources.exists()
    assert lapse(order) is Outcome.LAPSED


def test_a_person_cancels():
    """A buyer cancels before the deadline, by the same transition."""
    tea = product()
    order = place({tea: 2})
    result = unpaid_orders().cancel([order], by="buyer 7", reason="buyer")[order.number]
    assert result.outcome is Outcome.LAPSED
    assert allocated(tea) == 0
    assert_books_agree()


def test_a_stock_record_changes_once_for_many_orders():
    """Sales wait while a stock record is locked, so a lapse of many orders does not write it order by order."""
    tea, cup = product("tea"), product("cup")
    orders = [due_in(place({tea: 2, cup: 1}), -1) for _ in range(5)]
    written = []

    def receive(instance, **_):
        written.append(instance.product_id)

    post_save.connect(receive, sender=StockRecord)
    results = unpaid_orders().lapse([order.number for order in orders])
    post_save.disconnect(receive, sender=StockRecord)
    assert {result.outcome for result in results.values()} == {Outcome.LAPSED}
    assert sorted(written) == [tea.pk, cup.pk]
    assert (allocated(tea), allocated(cup)) == (0, 0)


def test_a_line_without_stock_to_give_back():
    """A stock record that was deleted, or a product whose stock is not tracked, keeps no order from lapsing."""
    gone, download, tea = product("gone"), product("download"), product("tea")
    kind = download.product_class
    kind.pk, kind.name, kind.slug, kind.track_stock = None, "Downloads", "downloads", False
    kind.save()
    download.product_class = kind
    download.save()
    order = due_in(place({gone: 1, download: 1, tea: 3}), -1)
    gone.stockrecords.all().delete()
    assert lapse(order) is Outcome.LAPSED
    assert allocated(tea) == 0


def test_what_oscars_pages_placed_is_armed(client):
    """A buyer goes through Oscar's own checkout; the timer knows the order as soon as it is placed."""
    tea = product()
    Country.objects.create(iso_3166_1_a2="GB", name="UK", printable_name="UK", is_shipping_country=True)
    client.force_login(
        get_user_model().objects.create_user("ann", "ann@example.com", "pw"),
        backend="oscar.apps.customer.auth_backends.EmailBackend",
    )
    client.post(reverse("basket:add", kwargs={"pk": tea.pk}), {"quantity": 2})
    address = {"first_name": "Ann", "last_name": "Lee", "line1": "1 High Street", "line4": "York"}
    client.post(reverse("checkout:shipping-address"), {**address, "postcode": "YO1 7HH", "country": "GB"})
    client.get(reverse("checkout:shipping-method"))
    placed = client.post(reverse("checkout:preview"), {"action": "place_order"})
    assert placed.headers["Location"] == reverse("checkout:thank-you"), placed.content
    order = Order.objects.get()
    assert (order.status, allocated(tea), timer().stats().pending) == ("Pending", 2, 1)
    pay(order.number, order.total_incl_tax, "visa-1")
    assert timer().stats().pending == 0
