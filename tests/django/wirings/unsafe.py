"""Wirings that break a shop. Each differs in one place from a wiring in `safe.py`, and looks as ordinary."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from lapse.orders import OrderBatch, Ruling
from tests.django.adopter.threads import PATIENCE, in_thread
from tests.django.databases import ALIAS
from tests.django.wirings import safe
from tests.django.wirings.kits import PIECES, WINDOW, BillOrders, Kit, give_back
from tests.django.wirings.models import Bill, BillPayment, Stock

NOT_DUE = "test_an_order_that_is_not_due_does_not_lapse"
BATCH = "test_orders_of_one_product_lapse_in_one_batch"
IN_TRANSACTION = "test_the_stock_comes_back_before_the_commit"
LAPSES = "test_an_overdue_order_lapses_and_its_stock_comes_back_once"
PAID = "test_a_paid_order_never_lapses"
TOO_LATE = "test_a_lapsed_order_cannot_be_paid"
CANCELS = "test_a_person_cancels_only_an_unpaid_order"
RAISES = "test_an_order_whose_hook_raises_stops_no_other_order"
PAYMENT_FIRST = "test_a_lapse_comes_while_a_payment_is_not_committed"
PAYMENT_BEFORE_CANCEL = "test_a_person_cancels_while_a_payment_is_not_committed"
LAPSE_FIRST = "test_a_payment_comes_while_a_lapse_is_not_committed"
CANCEL_FIRST = "test_a_payment_comes_while_a_persons_cancel_is_not_committed"
TWO_ORDERS = "test_two_orders_of_one_product_lapse_at_the_same_moment"
SALE = "test_a_sale_while_an_order_of_the_product_lapses"
DIES = "test_a_process_killed_between_the_gateway_and_the_cancellation"
AFTER_A_LAPSE = "test_a_payment_comes_before_the_gateway_is_called"
BEFORE_A_CANCELLATION = "test_a_payment_comes_between_the_gateway_and_the_cancellation"
SALES = "test_sales_while_orders_lapse"
PAYMENT_KILLED = "test_a_payment_that_is_killed_before_its_commit_has_not_happened"
KILLED = "test_a_process_killed_before_the_commit"


REVIVED = "test_a_revived_order_is_cancelled_again_and_its_stock_comes_back_once"
PAYMENT_BEFORE_EXTENSION = "test_an_extension_comes_while_a_payment_is_not_committed"


# --- what one lapse after the other shows, on every database ---


class RevivesWithoutStock(safe.Reviving):
    """R24: the stock of a revived order is for sale as well."""

    class Orders(safe.Reviving.Orders):
        """Nothing is taken again."""

        def reinstate(self, order: Bill) -> bool:
            """Write the status alone."""
            return bool(Bill.objects.filter(pk=order.pk).update(status="awaiting"))

    wiring: ClassVar[type[Any]] = Orders


class PaidFlagOnly(safe.PaidFlag):
    """A1: `unpaid` does not read what `lapsed` writes."""

    class Orders(BillOrders):
        """The status is not asked."""

        unpaid = Q(paid=False)

    wiring: ClassVar[type[Any]] = Orders


class ReceivedOnly(safe.Received):
    """A1: the money of a cancelled order is still less than its total."""

    class Orders(BillOrders):
        """The status is not asked."""

        unpaid = Q(received__lt=F("total"))

    wiring: ClassVar[type[Any]] = Orders


class EverythingElse(Kit):
    """A3: every status but "paid" is unpaid, "cancelled" as well."""

    class Orders(BillOrders):
        """The status that `lapsed` writes is not left out."""

        unpaid = ~Q(status__in=["paid"])

    wiring: ClassVar[type[Any]] = Orders


class NothingChanges(Kit):
    """B3: `lapsed` is empty, and the hook releases the stock only."""

    class Orders(BillOrders):
        """Nothing is declared."""

        lapsed: ClassVar[Any] = {}

    wiring: ClassVar[type[Any]] = Orders


class StatusWrittenFirst(safe.StateMachine):
    """B2: `lapsed` writes the status, so that the shop's own transition in the hook returns early."""

    class Orders(BillOrders):
        """The transition is called too late."""

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Cancel the orders as the shop does everywhere."""
            for order in orders:
                safe.set_cancelled(order)

    wiring: ClassVar[type[Any]] = Orders


class WrongForeignKey(safe.StatusIsAForeignKey):
    """A6: two statuses are unpaid, and `lapsed` writes one of them."""

    class Orders(safe.StatusIsAForeignKey.Orders):
        """The key of "cancelled" is another one."""

        unpaid = Q(status__in=[1, 3])

    wiring: ClassVar[type[Any]] = Orders


class HookRaises(Kit):
    """The hook fails for each order."""

    class Orders(BillOrders):
        """A bug."""

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Fail."""
            del orders
            raise ArithmeticError("a bug in the hook")

    wiring: ClassVar[type[Any]] = Orders


class GivesBackTwice(Kit):
    """The transition releases the stock, and so does the hook, as a signal would."""

    class Orders(safe.StateMachine.Orders):
        """Two places release the stock."""

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Release the stock."""
            give_back(orders)

    wiring: ClassVar[type[Any]] = Orders


class GivesBackTooLittle(Kit):
    """The hook releases one piece of each order."""

    class Orders(BillOrders):
        """The quantity is forgotten."""

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Release some of the stock."""
            give_back(orders, PIECES - 1)

    wiring: ClassVar[type[Any]] = Orders


class OnlyTheFirst(Kit):
    """The hook releases the stock of one order, as it was when only one order lapsed at a time."""

    class Orders(BillOrders):
        """A batch is taken for an order."""

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Release the stock of the first order."""
            give_back(OrderBatch(orders[:1], reason="", actor=""))

    wiring: ClassVar[type[Any]] = Orders


class AfterTheCommit(Kit):
    """The hook releases the stock after the commit, when the process may be gone."""

    class Orders(BillOrders):
        """The stock is not part of the transaction."""

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Release the stock later."""
            transaction.on_commit(lambda: give_back(orders), using=ALIAS)

    wiring: ClassVar[type[Any]] = Orders


class PaymentUnread(safe.PaidFlag):
    """The payment sets a flag, and `unpaid` reads the status."""

    wiring: ClassVar[type[Any]] = BillOrders


class PaymentUnreadAndUnseen(safe.Absence):
    """The payment is a row of another table, and `unpaid` reads the status."""

    wiring: ClassVar[type[Any]] = BillOrders


class BlindSave(Kit):
    """The payment saves the order as it was read before."""

    def pay(self, order: Any) -> bool:
        """Pay the order in any state."""
        order.status = "paid"
        order.save()
        return True


class LockedAndUnasked(Kit):
    """The payment locks the order and does not ask whether it is unpaid."""

    def pay(self, order: Any) -> bool:
        """Pay the order in any state."""
        with self.transaction():
            locked = Bill.objects.select_for_update().get(pk=order.pk)
            locked.status = "paid"
            locked.save()
        return True


class CountUnread(Kit):
    """The payment is a conditional update whose count is not looked at."""

    def pay(self, order: Any) -> bool:
        """Pay the order if it is unpaid, and take the money in any case."""
        Bill.objects.filter(pk=order.pk, status="awaiting").update(status="paid")
        return True


class ClosingIsNotUnpaid(safe.Gateway):
    """An order that is closing no longer counts as unpaid: after a crash no process would find it."""

    class Orders(safe.Gateway.Orders):
        """One status is left out."""

        unpaid = Q(status="awaiting")

    wiring: ClassVar[type[Any]] = Orders


class PaidInWords(safe.Gateway):
    """`on_ruling` says that the order is paid, and writes nothing."""

    class Orders(safe.Gateway.Orders):
        """The row is not changed."""

        def on_ruling(self, order: Bill, rulings: Sequence[Ruling]) -> bool:
            """Return True for each ruling."""
            return bool(order and rulings)

    wiring: ClassVar[type[Any]] = Orders


class LocalTime(Kit):
    """A2: the checkout stores the database's `Now()`, which on MySQL is the session's local time, here west of UTC."""

    def make(self) -> Bill:
        """Make an order that is due in half an hour, five hours ago."""
        return Bill.objects.create(pay_by=Now() + WINDOW)


EVERYWHERE = [
    (PaidFlagOnly, LAPSES, "still count as unpaid"),
    (ReceivedOnly, LAPSES, "still count as unpaid"),
    (EverythingElse, LAPSES, "still count as unpaid"),
    (NothingChanges, LAPSES, "still count as unpaid"),
    (StatusWrittenFirst, LAPSES, "override `transition`"),
    (WrongForeignKey, LAPSES, "still count as unpaid"),
    (HookRaises, LAPSES, "a bug in the hook"),
    (HookRaises, RAISES, "a bug in the hook"),
    (GivesBackTwice, LAPSES, "exactly what the order took"),
    (GivesBackTooLittle, LAPSES, "only 999 of 1000"),
    (RevivesWithoutStock, REVIVED, "must take exactly what the order took"),
    (OnlyTheFirst, BATCH, "only 996 of 1000"),
    (AfterTheCommit, IN_TRANSACTION, "not by on_commit()"),
    (PaymentUnread, PAID, "`unpaid` must read what the payment changes"),
    (PaymentUnread, CANCELS, "a person's cancel of a paid order"),
    (PaymentUnreadAndUnseen, PAID, "`unpaid` must read what the payment changes"),
    (BlindSave, TOO_LATE, "Pay inside hold"),
    (LockedAndUnasked, TOO_LATE, "Pay inside hold"),
    (CountUnread, TOO_LATE, "Pay inside hold"),
    (BlindSave, CANCELS, "Pay inside hold"),
    (BlindSave, AFTER_A_LAPSE, "The likely cause is a payment without hold()"),
    (BlindSave, BEFORE_A_CANCELLATION, "The likely cause is a payment without hold()"),
    (ClosingIsNotUnpaid, LAPSES, "no longer count as unpaid"),
    (ClosingIsNotUnpaid, DIES, "no longer count as unpaid"),
    (PaidInWords, LAPSES, "after on_ruling() returned True"),
]
"""A wiring, the test of the suite that must fail on it, and what the error must say."""


# --- what only two at the same moment show, where the database locks rows ---


class LinesNotLocked(safe.Lines):
    """A4: `unpaid` reads the lines, and only the order is locked."""

    class Orders(safe.Lines.Orders):
        """`lock` is missing."""

        lock: ClassVar[Any] = ()

    wiring: ClassVar[type[Any]] = Orders


class CompanionAlone(safe.Companion):
    """B1: `unpaid` reads the sale, and only its companion is locked: 31 of 40 paid orders were cancelled."""

    class Orders(safe.Companion.Orders):
        """`lock` is missing."""

        lock: ClassVar[Any] = ()

    wiring: ClassVar[type[Any]] = Orders


class ReadAndSave(Kit):
    """The payment reads the order, decides, and saves it: nothing is locked between the two."""

    def pay(self, order: Any) -> bool:
        """Pay the order if it was unpaid a moment ago."""
        found = Bill.objects.get(pk=order.pk)
        if found.status != "awaiting":
            return False
        found.status = "paid"
        found.save()
        return True


class WritersDoNotLock(safe.Absence):
    """`writers_lock` is declared, so that every check is silent, and it is not true: the payment only reads."""

    def pay(self, order: Any) -> bool:
        """Add the payment if the order was unpaid a moment ago."""
        if Bill.objects.get(pk=order.pk).status != "awaiting":
            return False
        BillPayment.objects.create(bill=order)
        return True

    def status(self, order: Any) -> str:
        """Read both: money that has come counts."""
        return "paid" if BillPayment.objects.filter(bill=order).exists() else Bill.objects.get(pk=order.pk).status


class AbsenceUnlocked(WritersDoNotLock):
    """`unpaid` asks for the absence of a payment, and nothing is declared."""

    class Orders(safe.Absence.Orders):
        """`writers_lock` is missing."""

        writers_lock: ClassVar[Any] = None

    wiring: ClassVar[type[Any]] = Orders


class ReadsTheStock(Kit):
    """The hook reads the stock and writes what it has computed."""

    class Orders(BillOrders):
        """An update is lost if two do this at once."""

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Read, compute, save."""
            stock = Stock.objects.get()
            stock.pieces += PIECES * len(orders)
            stock.save()

    wiring: ClassVar[type[Any]] = Orders


class SaleReadsTheStock(Kit):
    """The checkout reads the stock and writes what it has computed."""

    def place(self) -> Any:
        """Read, compute, save."""
        with self.transaction():
            stock = Stock.objects.get()
            stock.pieces -= PIECES
            stock.save()
            return self.make()


class OwnConnection(Kit):
    """The hook releases the stock on a connection of its own, which commits at once."""

    class Orders(BillOrders):
        """Another service, an outbox without a transaction, or autocommit."""

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Release the stock outside the transaction."""
            in_thread(lambda: give_back(orders)).result(PATIENCE)

    wiring: ClassVar[type[Any]] = Orders


class MarksOnOwnConnection(Kit):
    """The payment marks the order on a connection of its own, which commits at once, as a service beside the shop."""

    def pay(self, order: Any) -> bool:
        """Pay the order outside the transaction."""
        rows = Bill.objects.filter(pk=order.pk, status="awaiting")
        return bool(in_thread(lambda: rows.update(status="paid")).result(PATIENCE))


class OtherSequence(safe.TwoProducts):
    """B6: the lapse changes the rows of the stock in another sequence than the checkout."""

    class Orders(safe.TwoProducts.Orders):
        """The last product comes first."""

        sequence = (2, 1)

    wiring: ClassVar[type[Any]] = Orders


WHERE_ROWS_ARE_LOCKED = [
    (LinesNotLocked, PAYMENT_FIRST, "name the relations that `unpaid` reads"),
    (LinesNotLocked, PAYMENT_BEFORE_CANCEL, "name the relations that `unpaid` reads"),
    (LinesNotLocked, PAYMENT_BEFORE_EXTENSION, "name the relations that `unpaid` reads"),
    (CompanionAlone, PAYMENT_FIRST, "name the relations that `unpaid` reads"),
    (CompanionAlone, PAYMENT_BEFORE_CANCEL, "name the relations that `unpaid` reads"),
    (ReadAndSave, LAPSE_FIRST, "Pay inside hold"),
    (ReadAndSave, CANCEL_FIRST, "Pay inside hold"),
    (BlindSave, LAPSE_FIRST, "Pay inside hold"),
    (WritersDoNotLock, LAPSE_FIRST, "Pay inside hold"),
    (AbsenceUnlocked, LAPSE_FIRST, "Pay inside hold"),
    (ReadsTheStock, TWO_ORDERS, "statements like update"),
    (SaleReadsTheStock, SALE, "must not read the stock and write it afterwards"),
    (OwnConnection, KILLED, "in the transaction of the lapse"),
    (OwnConnection, RAISES, "in the transaction of the lapse"),
    (MarksOnOwnConnection, PAYMENT_KILLED, "the order is paid, not cancelled"),
    (OtherSequence, SALES, "in the same sequence as the checkout"),
]
"""As above."""
