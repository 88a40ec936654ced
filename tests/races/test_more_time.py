"""A merchant extends and revives orders while they fire, are paid and are cancelled (R16, R17, R24, M8, M9)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

from lapse import ConfigError, InvalidDeadline
from lapse.orders import EXPIRED, Extended, OrderBatch, Outcome, Revived, Settled, Verdict
from lapse.testing.two_at_once import in_killed_process, kill_this_process, shadowed
from tests.django.databases import WITH_ROW_LOCKS
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder
from tests.django.wirings.money import PRICE, Bank, CupOrders, begin, place
from tests.races.meeting import at_once, every_yuan_is_known, notify, standing, stored, while_it_stands

on_both = pytest.mark.parametrize("database", WITH_ROW_LOCKS, indirect=True)
BY = {"by": "clerk 2", "reason": "the buyer called"}
LATER = timedelta(hours=1)


class Shop(CupOrders):
    """The shop of cups, which keeps what the hooks received and what was armed."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, list[tuple[str, str]]]] = []
        self.armed: dict[str, datetime] = {}

    def on_extended(self, orders: OrderBatch[CupOrder]) -> None:
        """Keep the batch."""
        self._see("extended", orders)

    def on_revived(self, orders: OrderBatch[CupOrder]) -> None:
        """Keep the batch."""
        self._see("revived", orders)

    def on_reopened(self, orders: OrderBatch[CupOrder]) -> None:
        """Keep the batch."""
        self._see("reopened", orders)

    def arm(self, *orders: CupOrder) -> None:
        """Keep the deadlines that the timer gets."""
        self.armed |= {order.key: order.due_at for order in self._queries.deadlines_of(orders)}

    def _see(self, what: str, orders: OrderBatch[CupOrder]) -> None:
        self.seen.append((what, orders.reason, orders.actor, [(order.status, order.reason) for order in orders]))


def extend(*orders: CupOrder, more: timedelta = LATER, shop: CupOrders | None = None) -> list[Extended]:
    """Extend the orders until so long after now; return what became of each."""
    return list((shop or CupOrders()).extend(orders, until=timezone.now() + more, **BY).values())


def revive(*orders: CupOrder, shop: CupOrders | None = None) -> list[Revived]:
    """Revive the orders until an hour from now; return what became of each."""
    return list((shop or CupOrders()).revive(orders, until=timezone.now() + LATER, **BY).values())


def lapse(order: CupOrder, shop: CupOrders | None = None) -> Outcome:
    """Lapse the order if it is due."""
    return (shop or CupOrders()).lapse([str(order.pk)])[str(order.pk)].outcome


def make_due(order: CupOrder) -> None:
    """Let the order's time pass."""
    CupOrder.objects.filter(pk=order.pk).update(pay_by=timezone.now() - LATER)


@on_both
def test_an_extension_moves_the_deadline_everywhere(bank: Bank) -> None:
    """In the row and in the timer, for a due order and one that is not due; the hook knows who and why."""
    assert bank
    orders, shop = [place(), place(due=LATER / 2)], Shop()
    until = timezone.now() + LATER
    assert list(shop.extend(orders, until=until, **BY).values()) == [Extended.EXTENDED, Extended.EXTENDED]
    assert [order.pay_by for order in CupOrder.objects.order_by("pk")] == [until, until]
    assert shop.armed == {str(order.pk): until for order in orders}
    assert shop.seen == [("extended", "the buyer called", "clerk 2", [("awaiting", ""), ("awaiting", "")])]
    assert [lapse(order) for order in orders] == [Outcome.NOT_DUE, Outcome.NOT_DUE]


def test_an_extension_never_shortens(bank: Bank) -> None:
    """An earlier time, and the same call again, change nothing: the buyer keeps the time that was promised."""
    assert bank
    order, shop = place(due=2 * LATER), Shop()
    assert extend(order, shop=shop) == [Extended.NOT_LATER]
    until = order.pay_by + LATER
    assert list(shop.extend([order], until=until, **BY).values()) == [Extended.EXTENDED]
    assert list(shop.extend([order], until=until, **BY).values()) == [Extended.NOT_LATER]
    assert len(shop.seen) == 1


def test_what_cannot_be_extended_is_named(bank: Bank) -> None:
    """Paid, cancelled, deleted, and an order that a person began to cancel."""
    paid, cancelled, gone, closing = (place(due=LATER) for _ in range(4))
    CupOrders().receive(notify(begin(paid, "a1")))
    CupOrders().cancel([cancelled], by="buyer 7", reason="buyer")
    begin(closing, "a2")
    with bank.away():
        CupOrders().cancel([closing], by="buyer 7", reason="buyer")
        CupOrders()._gateway_work._retries.forget()
    key = str(gone.pk)
    CupOrder.objects.filter(pk=gone.pk).delete()
    shop = Shop()
    results = shop.extend([paid, cancelled, gone, closing], until=timezone.now() + 2 * LATER, **BY)
    assert list(results.values()).count(Extended.NOT_UNPAID) == 2
    assert results[key] is Extended.UNKNOWN
    assert results[str(closing.pk)] is Extended.CLOSING
    assert (shop.seen, shop.armed) == ([], {})
    assert CupOrder.objects.get(pk=closing.pk).pay_by == closing.pay_by


@pytest.mark.parametrize("call", [CupOrders.extend, CupOrders.revive])
def test_a_time_that_makes_no_sense_is_refused(bank: Bank, call: Callable[..., object]) -> None:
    """A naive time, a time that has passed by the database's clock, and one that no row stores: nothing is changed."""
    assert bank
    order, shop = place(), CupOrders()
    for until, named in [
        (datetime(2100, 1, 1), "aware"),  # noqa: DTZ001 - refused, because it is naive
        (timezone.now() - LATER, "database's clock"),
        (datetime(9999, 12, 31, 12, tzinfo=UTC), "9999-12-30"),
    ]:
        with pytest.raises(InvalidDeadline, match=named):
            call(shop, [order], until=until, **BY)
    with pytest.raises(TypeError, match=r"orders, until=…, by=…, reason=…\) takes instances of CupOrder"):
        call(shop, [str(order.pk)], until=timezone.now() + LATER, **BY)
    with pytest.raises(ValueError, match="who does it, and why"):
        call(shop, [order], until=timezone.now() + LATER, by="", reason="why")
    assert CupOrder.objects.get().pay_by == order.pay_by


def test_m12_a_time_in_which_no_order_can_be_paid_is_refused(bank: Bank) -> None:
    """The gateway says how much time a payment needs; the error says how much that is."""
    order = place()
    bank.least_window = timedelta(minutes=2)  # type: ignore[attr-defined] # an attribute that a gateway may have
    with pytest.raises(InvalidDeadline, match="at least 0:02:00 later"):
        extend(order, more=timedelta(minutes=1))
    assert extend(order, more=timedelta(minutes=3)) == [Extended.EXTENDED]


def test_a_shop_without_the_hooks_cannot_revive(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the hook; nothing is changed."""
    assert bank
    order = place()
    lapse(order)
    monkeypatch.delattr(CupOrders, "reinstate")
    with pytest.raises(ConfigError, match=r"CupOrders has no reinstate\(\)"):
        revive(order)
    assert stored(order).status == "cancelled"


@on_both
@pytest.mark.parametrize("paid", [False, True])
def test_r16_m8_an_extension_while_the_gateway_closes(bank: Bank, paid: bool) -> None:
    """The order waits for its payment again at once. Its attempt is closed, or the money that came first pays it."""
    begin(order := place(), "a1")
    if paid:
        bank.pay("a1")
    shop = Shop()
    with standing(bank, "close") as point:
        outcome, extended, waited = while_it_stands(point, lambda: lapse(order), lambda: extend(order, shop=shop))
    assert (extended, waited) == ([Extended.EXTENDED], False)
    assert [(what, actor, rows) for what, _, actor, rows in shop.seen] == [
        ("reopened", "clerk 2", [("awaiting", "")]),
        ("extended", "clerk 2", [("awaiting", "")]),
    ]
    if paid:
        assert (outcome, stored(order)) == (Outcome.PAID, ("paid", PRICE, 0, ["succeeded"]))
    else:
        assert (outcome, stored(order)) == (Outcome.NOT_DUE, ("awaiting", 0, 0, ["closed"]))
    every_yuan_is_known(bank)


def test_r16_m8_an_extension_while_step_one_is_not_committed(bank: Bank) -> None:
    """The extension waits for the row, and reopens what step one has made closing."""
    begin(order := place(), "a1")
    lapsing = CupOrders()
    step_one = lapsing.port().begin
    with standing(lapsing, "on_closing") as point:
        begun, extended, waited = while_it_stands(point, lambda: step_one([str(order.pk)]), lambda: extend(order))
    assert (extended, waited) == ([Extended.EXTENDED], True)
    rulings = [bank.close(attempt) for attempt in begun.attempts]
    assert lapsing.port().finish(rulings)[str(order.pk)].outcome is Outcome.NOT_DUE
    assert stored(order) == ("awaiting", 0, 0, ["closed"])


def test_m8_r20_the_bank_closed_the_attempt_and_the_process_died(bank: Bank) -> None:
    """No answer was booked. The extension lets the bank be asked at once, so that the buyer soon gets another link."""
    begin(order := place(), "a1")
    (attempt,) = CupOrders().port().begin([str(order.pk)]).attempts
    bank.close(attempt)
    assert extend(order) == [Extended.EXTENDED]
    CupOrders().reconciler().once()
    assert stored(order) == ("awaiting", 0, 0, ["closed"])


def test_r16_an_extension_while_the_cancel_is_not_committed(bank: Bank) -> None:
    """The extension waits for the row, comes too late, and says so."""
    assert bank
    order, shop, lapsing = place(), Shop(), CupOrders()
    with standing(lapsing, "on_lapse") as point:
        met = while_it_stands(point, lambda: lapse(order, lapsing), lambda: extend(order, shop=shop))
    assert met == (Outcome.LAPSED, [Extended.NOT_UNPAID], True)
    assert shop.armed == {}


@on_both
def test_r16_the_timer_fires_while_an_extension_is_not_committed(bank: Bank) -> None:
    """The timer skips the locked row, and finds the new deadline when it tries again."""
    assert bank
    order, shop = place(), Shop()
    with standing(shop, "on_extended") as point:
        met = while_it_stands(point, lambda: extend(order, shop=shop), lambda: lapse(order))
    assert met == ([Extended.EXTENDED], Outcome.LOCKED, False)
    assert lapse(order) is Outcome.NOT_DUE


@pytest.mark.parametrize("money_first", [True, False])
def test_an_extension_meets_a_payment(bank: Bank, money_first: bool) -> None:
    """Whichever has the row first: the order is paid, and the other one waits."""
    attempt = begin(order := place(), "a1")
    bank.pay("a1")
    shop = Shop()
    if money_first:
        with standing(shop, "on_paid") as point:
            met = while_it_stands(point, lambda: shop.receive(notify(attempt)), lambda: extend(order))
        assert met == (Settled.PAID, [Extended.NOT_UNPAID], True)
    else:
        with standing(shop, "on_extended") as point:
            late = while_it_stands(point, lambda: extend(order, shop=shop), lambda: shop.receive(notify(attempt)))
        assert late == ([Extended.EXTENDED], Settled.PAID, True)
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


def test_an_extension_meets_a_persons_cancel(bank: Bank) -> None:
    """A cancel that waits for the extension cancels all the same. One that has begun is not taken back."""
    order, shop = place(), Shop()

    def cancel() -> Outcome:
        return CupOrders().cancel([order], by="buyer 7", reason="buyer")[str(order.pk)].outcome

    with standing(shop, "on_extended") as point:
        met = while_it_stands(point, lambda: extend(order, shop=shop), cancel)
    assert met == ([Extended.EXTENDED], Outcome.LAPSED, True)
    begin(order := place(), "a1")
    with standing(bank, "close") as point:
        other = while_it_stands(point, cancel, lambda: extend(order))
    assert other == (Outcome.LAPSED, [Extended.CLOSING], False)


@on_both
def test_two_extensions_at_once_leave_the_later_deadline(bank: Bank) -> None:
    """The second one waits, reads what the first one has written, and does not shorten it."""
    assert bank
    order, shop = place(), Shop()
    with standing(shop, "on_extended") as point:
        met = while_it_stands(point, lambda: extend(order, more=2 * LATER, shop=shop), lambda: extend(order))
    assert met == ([Extended.EXTENDED], [Extended.NOT_LATER], True)
    assert CupOrder.objects.get().pay_by > timezone.now() + LATER


@on_both
def test_an_extension_in_a_transaction_that_has_read_before(bank: Bank) -> None:
    """The old snapshot does not decide: what another process has promised meanwhile is not shortened."""
    assert bank
    order = place()
    with transaction.atomic("wirings"):
        assert CupOrder.objects.get().pay_by == order.pay_by  # MariaDB reads this from now on
        (other,) = at_once(lambda: extend(order, more=2 * LATER))
        assert (other, extend(order)) == ([Extended.EXTENDED], [Extended.NOT_LATER])


@pytest.mark.parametrize("hook", ["on_extended", "on_revived"])
def test_killed_before_the_commit_nothing_has_happened(bank: Bank, hook: str) -> None:
    """The database ends the transaction. The same call again does its work, and the piece counts once."""
    assert bank
    order = place()
    if revival := hook == "on_revived":
        lapse(order)
    before = stored(order)
    connections["wirings"].close()

    def die() -> None:
        shop = CupOrders()
        with shadowed(shop, hook, lambda _: kill_this_process()):
            revive(order, shop=shop) if revival else extend(order, shop=shop)

    assert in_killed_process(die) is None
    assert stored(order) == before
    assert (revive(order) == [Revived.REVIVED]) if revival else (extend(order) == [Extended.EXTENDED])
    assert stored(order).stock == 0
    make_due(order)
    assert lapse(order) is Outcome.LAPSED
    assert stored(order).stock == 1


@pytest.mark.parametrize("hook", ["extend", "revive"])
def test_killed_after_the_commit_the_sweep_knows_the_new_deadline(bank: Bank, hook: str) -> None:
    """The timer was not armed, or fires for the old time: the row decides."""
    assert bank
    order = place()
    if hook == "revive":
        lapse(order)
    connections["wirings"].close()

    def die() -> None:
        (revive if hook == "revive" else extend)(order)
        kill_this_process()

    assert in_killed_process(die) is None
    assert lapse(order) is Outcome.NOT_DUE
    make_due(order)
    assert [due.key for due in CupOrders().port().overdue(10)] == [str(order.pk)]


def test_m9_r17_the_open_attempt_is_closed_and_the_order_stays(bank: Bank) -> None:
    """The order does not lapse and its piece stays held; another attempt may follow. What is closed is not asked."""
    begin(order := place(due=LATER), "a1")
    assert CupOrders().close_attempt("a1") is Verdict.CLOSED
    assert CupOrders().close_attempt("a1") is Verdict.CLOSED
    assert bank.calls == ["close"]
    assert stored(order) == ("awaiting", 0, 0, ["closed"])


def test_m9_r17_money_that_came_before_the_close_pays(bank: Bank) -> None:
    """The attempt to be replaced was paid already: the order is paid, and no second attempt is needed."""
    begin(order := place(due=LATER), "a1")
    bank.pay("a1")
    assert CupOrders().close_attempt("a1") is Verdict.PAID
    assert CupOrders().close_attempt("a1") is Verdict.PAID
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


def test_m9_r17_money_that_comes_by_a_replaced_link(bank: Bank) -> None:
    """The bank closed a link that no buyer had opened, and it is paid after all: by the one door, it pays the order."""
    replaced = begin(order := place(due=LATER), "a1")
    CupOrders().close_attempt("a1")
    begin(order, "a2")
    bank.pay("a1")
    assert CupOrders().receive(notify(replaced)) is Settled.PAID
    bank.pay("a2")
    assert CupOrders().reconciler().once()[Settled.REFUND_DUE] == 1
    CupOrders().reconciler().once()
    assert stored(order) == ("paid", PRICE, 0, ["succeeded", "refunded"])
    every_yuan_is_known(bank)


def test_m9_r17_without_an_answer_the_attempt_stays_open(bank: Bank) -> None:
    """The bank closes it, and the answer is lost: a worker asks again soon, and finds it closed."""
    begin(order := place(due=LATER), "a1")
    with bank.away():
        assert CupOrders().close_attempt("a1") is Verdict.UNKNOWN
    assert CupAttempt.objects.get().state in ("created", "unknown")
    CupOrders().reconciler().once()
    assert stored(order) == ("awaiting", 0, 0, ["closed"])


@on_both
def test_r24_a_revived_order_is_cancelled_again_and_its_piece_comes_back_once(bank: Bank) -> None:
    """It has a new deadline in the row and in the timer, no reason of its former life, and a new end."""
    assert bank
    order, shop = place(), Shop()
    assert lapse(order) is Outcome.LAPSED
    CupOrder.objects.update(reason=EXPIRED)
    assert revive(order, shop=shop) == [Revived.REVIVED]
    assert shop.seen == [("revived", "the buyer called", "clerk 2", [("awaiting", "")])]
    assert shop.armed[str(order.pk)] == CupOrder.objects.get().pay_by > timezone.now()
    assert stored(order) == ("awaiting", 0, 0, [])
    assert lapse(order) is Outcome.NOT_DUE
    make_due(order)
    assert (lapse(order), lapse(order)) == (Outcome.LAPSED, Outcome.NOT_UNPAID)
    assert stored(order) == ("cancelled", 0, 1, [])


def test_r24_without_stock_nothing_changes(bank: Bank) -> None:
    """What the hook has written is rolled back. Unpaid, paid and deleted orders are named; the others are revived."""
    assert bank
    cup = Cup.objects.create(stock=0)
    sold_out, unpaid, paid, other = place(), place(due=LATER), place(due=LATER), place(cup=cup)
    lapse(sold_out)
    lapse(other)
    Cup.objects.filter(pk=sold_out.cup_id).update(stock=0)
    CupOrders().receive(notify(begin(paid, "a1")))
    gone = place()
    key = str(gone.pk)
    results = CupOrders()
    CupOrder.objects.filter(pk=gone.pk).delete()
    found = results.revive([sold_out, unpaid, paid, gone, other], until=timezone.now() + LATER, **BY)
    assert found == {
        str(sold_out.pk): Revived.NOT_REINSTATED,
        str(unpaid.pk): Revived.NOT_CANCELLED,
        str(paid.pk): Revived.NOT_CANCELLED,
        key: Revived.UNKNOWN,
        str(other.pk): Revived.REVIVED,
    }
    assert stored(sold_out) == ("cancelled", 0, 0, [])
    assert CupOrder.objects.get(pk=sold_out.pk).pay_by == sold_out.pay_by


@on_both
def test_r24_two_revive_at_once(bank: Bank) -> None:
    """The second one waits, and finds the order unpaid: one piece is held."""
    assert bank
    order, shop = place(stock=5), Shop()
    lapse(order)
    with standing(shop, "on_revived") as point:
        met = while_it_stands(point, lambda: revive(order, shop=shop), lambda: revive(order))
    assert met == ([Revived.REVIVED], [Revived.NOT_CANCELLED], True)
    assert stored(order).stock == 5


@pytest.mark.parametrize("money_first", [True, False])
def test_r24_late_money_of_the_former_life_meets_a_revival(bank: Bank, money_first: bool) -> None:
    """The order is paid by it, and its piece is held once, whichever has the row first."""
    attempt = begin(order := place(), "a1")
    lapse(order)
    bank.pay("a1")
    shop = Shop()
    if money_first:
        with standing(shop, "on_paid") as point:
            met = while_it_stands(point, lambda: shop.receive(notify(attempt)), lambda: revive(order))
        assert met == (Settled.REINSTATED, [Revived.NOT_CANCELLED], True)
    else:
        with standing(shop, "on_revived") as point:
            late = while_it_stands(point, lambda: revive(order, shop=shop), lambda: shop.receive(notify(attempt)))
        assert late == ([Revived.REVIVED], Settled.PAID, True)
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


def test_r24_the_reconciler_finds_money_of_the_former_life(bank: Bank) -> None:
    """The notify is lost: the closed attempt is asked about, and pays the revived order."""
    begin(order := place(), "a1")
    lapse(order)
    revive(order)
    bank.pay("a1")
    CupAttempt.objects.update(ask_at=timezone.now() - LATER)
    assert CupOrders().reconciler().once() == {Settled.PAID: 1}
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)
