"""A person decides about money, and meets the refund, a notify, the provider's console, a sale, or another person."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial

import pytest
from django.db.models import F

from lapse.orders import Attempt, AttemptState, LateMoney, Outcome, Refund, RefundState, Settled
from lapse.testing.two_at_once import shadowed
from tests.django.databases import WITH_ROW_LOCKS
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder
from tests.django.wirings.money import PRICE, Bank, CupOrders, begin, place
from tests.races.meeting import at_once, every_yuan_is_known, notify, standing, stored, while_it_stands

WHY = "agreed with the buyer"
PAID_BY_A1 = ("paid", PRICE, 0, ["succeeded"])


def reinstate(shop: CupOrders) -> Settled:
    """Let a person reinstate the order of attempt a1."""
    return shop.money.decide_reinstate("a1")


def write_off(shop: CupOrders) -> Settled:
    """Let a person write the attempt a1 off."""
    return shop.money.write_off("a1", reason=WHY)


def refund(shop: CupOrders) -> Settled:
    """Let a person refund the attempt a1."""
    return shop.money.decide_refund("a1")


def waiting(bank: Bank, *, state: AttemptState = AttemptState.REVIEW, stock: int = 1) -> CupAttempt:
    """Return an attempt whose order is cancelled and whose money waits; so many pieces have come back since then."""
    attempt = begin(order := place(), "a1")
    assert CupOrders().lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.LAPSED
    Cup.objects.update(stock=0)
    bank.pay("a1")
    assert CupOrders().receive(notify(attempt)) in (Settled.REVIEW, Settled.REFUND_DUE)
    CupAttempt.objects.update(state=state.value)
    Cup.objects.update(stock=stock)
    return attempt


@pytest.fixture(autouse=True)
def review(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a person decide about late money."""
    monkeypatch.setattr(CupOrders, "late_money", LateMoney.REVIEW)


@pytest.mark.parametrize("database", WITH_ROW_LOCKS, indirect=True)
@pytest.mark.parametrize("state", [AttemptState.REVIEW, AttemptState.REFUND_DUE])
def test_a_person_reinstates(bank: Bank, state: AttemptState) -> None:
    """The order is paid and has its piece. The decision again, and each later one, changes nothing."""
    attempt = waiting(bank, state=state)
    assert reinstate(CupOrders()) is Settled.REINSTATED
    assert stored(attempt.order) == PAID_BY_A1
    for late in (reinstate, write_off, refund):
        assert late(CupOrders()) is Settled.KNOWN
    assert CupOrders().reconciler().once() == {}
    assert stored(attempt.order) == PAID_BY_A1
    assert "refund" not in bank.calls
    every_yuan_is_known(bank)


@pytest.mark.parametrize("state", [AttemptState.REVIEW, AttemptState.REFUND_DUE])
def test_without_stock_nothing_is_reinstated(bank: Bank, state: AttemptState) -> None:
    """The person learns it. The money waits as before, and the hook's changes are rolled back."""
    attempt = waiting(bank, state=state, stock=0)
    before = CupAttempt.objects.values().get()
    assert reinstate(CupOrders()) is Settled.NO_STOCK
    assert stored(attempt.order) == ("cancelled", 0, 0, [state.value])
    assert CupAttempt.objects.values().get() == before
    every_yuan_is_known(bank)


@pytest.mark.parametrize("decide", [reinstate, write_off])
def test_the_bank_was_asked_for_the_refund(bank: Bank, decide: Callable[[CupOrders], Settled]) -> None:
    """R4: the answer is not booked yet when a person decides otherwise. The decision comes too late."""
    attempt = waiting(bank, state=AttemptState.REFUND_DUE)
    CupAttempt.objects.update(ask_at="2020-01-01T00:00Z")
    with standing(bank, "refund") as point:
        _, decided, _ = while_it_stands(point, CupOrders().reconciler().once, lambda: decide(CupOrders()))
    assert decided is Settled.KNOWN
    assert stored(attempt.order) == ("cancelled", 0, 1, ["refunded"])
    every_yuan_is_known(bank)


@pytest.mark.parametrize(
    ("decide", "settled", "after"),
    [
        (reinstate, Settled.REINSTATED, PAID_BY_A1),
        (write_off, Settled.WRITTEN_OFF, ("cancelled", 0, 1, ["kept"])),
    ],
    ids=["reinstate", "write off"],
)
def test_a_person_decides_while_a_refund_begins(
    bank: Bank, decide: Callable[[CupOrders], Settled], settled: Settled, after: tuple[object, ...]
) -> None:
    """R4: the reconciler has asked the bank, and not begun the refund. Then there is nothing to refund."""
    attempt = waiting(bank, state=AttemptState.REFUND_DUE)
    CupAttempt.objects.update(ask_at="2020-01-01T00:00Z")
    with standing(bank, "query") as point:
        _, decided, _ = while_it_stands(point, CupOrders().reconciler().once, lambda: decide(CupOrders()))
    assert decided is settled
    assert stored(attempt.order) == after
    assert "refund" not in bank.calls
    every_yuan_is_known(bank)


@pytest.mark.parametrize("decide", [reinstate, write_off, refund])
def test_m10_the_report_of_a_refund_by_hand_comes_first(bank: Bank, decide: Callable[[CupOrders], Settled]) -> None:
    """The decision waits for the report, and changes nothing."""
    attempt = waiting(bank)
    bank.give_back("a1", PRICE)
    shop = CupOrders()
    report = notify(attempt, back=PRICE)
    with standing(shop, "on_attempt") as point:
        met = while_it_stands(point, lambda: shop.receive(report), lambda: decide(CupOrders()))
    assert met == (Settled.REFUNDED, Settled.KNOWN, True)
    assert stored(attempt.order) == ("cancelled", 0, 1, ["refunded"])
    every_yuan_is_known(bank)


@pytest.mark.parametrize(
    ("decide", "status", "stock"), [(reinstate, "paid", 0), (write_off, "cancelled", 1)], ids=["reinstate", "write off"]
)
@pytest.mark.parametrize("is_lost", [False, True], ids=["reported", "report lost"])
def test_m10_refunded_by_hand_while_another_person_decides(
    bank: Bank, decide: Callable[[CupOrders], Settled], status: str, stock: int, is_lost: bool
) -> None:
    """The refund is found, also if its report is lost: the gateway is asked once more after such a decision."""
    attempt = waiting(bank)
    bank.give_back("a1", PRICE)
    assert decide(CupOrders()) in (Settled.REINSTATED, Settled.WRITTEN_OFF)
    found = CupOrders().reconciler().once() if is_lost else {CupOrders().receive(notify(attempt, back=PRICE)): 1}
    assert found == {Settled.REFUNDED: 1}
    assert stored(attempt.order) == (status, 0, stock, ["refunded"])
    CupAttempt.objects.filter(ask_at=None).get()
    assert CupOrder.objects.get().turnover == 0, "the money of the reinstated order went back, and is counted so"


@pytest.mark.parametrize("database", WITH_ROW_LOCKS, indirect=True)
@pytest.mark.parametrize("other", [reinstate, write_off, refund])
def test_two_people_decide(bank: Bank, other: Callable[[CupOrders], Settled]) -> None:
    """The first decides. The other waits, and learns that nothing was changed."""
    attempt = waiting(bank)
    shop = CupOrders()
    with standing(shop, "reinstate") as point:
        met = while_it_stands(point, lambda: reinstate(shop), lambda: other(CupOrders()))
    assert met == (Settled.REINSTATED, Settled.KNOWN, True)
    assert stored(attempt.order) == PAID_BY_A1
    every_yuan_is_known(bank)


def test_many_people_decide_at_once(bank: Bank) -> None:
    """One decision takes effect. The others saw an attempt in review, which it is no longer, and change nothing."""
    waiting(bank)
    ways: list[Callable[[], Settled]] = []
    for door in [CupOrders().money for _ in range(3)]:
        ways.append(partial(door.decide_reinstate, "a1", seen=AttemptState.REVIEW))
        ways.append(partial(door.write_off, "a1", reason=WHY, seen=AttemptState.REVIEW))
        ways.append(partial(door.decide_refund, "a1"))
    decided = at_once(*ways)
    assert sum(settled is not Settled.KNOWN for settled in decided) == 1
    CupOrders().reconciler().once()
    every_yuan_is_known(bank)


def test_r14_a_second_payment_while_a_person_reinstates(bank: Bank) -> None:
    """The second payment waits, finds a paid order, and needs a decision of its own."""
    attempt = waiting(bank)
    second = begin(attempt.order, "a2")
    bank.pay("a2")
    shop = CupOrders()
    with standing(shop, "reinstate") as point:
        met = while_it_stands(point, lambda: reinstate(shop), lambda: CupOrders().receive(notify(second)))
    assert met == (Settled.REINSTATED, Settled.REVIEW, True)
    assert CupOrders().money.decide_reinstate("a2") is Settled.KNOWN, "the order takes no second payment"
    assert stored(attempt.order) == ("paid", PRICE, 0, ["succeeded", "review"])
    every_yuan_is_known(bank)


def test_r28_the_last_piece_is_sold_while_a_person_reinstates(bank: Bank) -> None:
    """The sale waits for the reinstatement, and finds no piece."""
    attempt = waiting(bank)
    shop = CupOrders()

    def sell() -> bool:
        return bool(Cup.objects.filter(stock__gte=1).update(stock=F("stock") - 1))

    with standing(shop, "reinstate") as point:
        met = while_it_stands(point, lambda: reinstate(shop), sell)
    assert met == (Settled.REINSTATED, False, True)
    assert stored(attempt.order) == PAID_BY_A1


def test_money_for_an_order_that_is_unpaid_again_pays_it(bank: Bank) -> None:
    """The order was opened again after its money had come: the decision pays it, with the piece that it holds."""
    attempt = waiting(bank, stock=0)
    CupOrder.objects.update(status="awaiting")
    assert reinstate(CupOrders()) is Settled.PAID
    assert stored(attempt.order) == PAID_BY_A1


def test_what_was_written_off_is_accounted_for(bank: Bank) -> None:
    """The reason is stored. A refund of a part and the rest of it, made by hand later, are booked."""
    attempt = waiting(bank)
    assert write_off(CupOrders()) is Settled.WRITTEN_OFF
    assert CupOrders().reconciler().once() == {}
    attempt.refresh_from_db()
    assert (attempt.state, attempt.written_off, attempt.alarm, attempt.ask_at) == ("kept", WHY, "", None)
    every_yuan_is_known(bank)
    for part, state in ((PRICE / 2, "kept"), (PRICE / 2, "refunded")):
        bank.give_back("a1", part)
        report = notify(attempt, back=bank.payments["a1"].back)
        assert CupOrders().receive(report) is Settled.REFUNDED
        assert stored(attempt.order).attempts == [state]
        every_yuan_is_known(bank)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "no\0thing"])
def test_a_reason_that_says_nothing_is_refused(bank: Bank, reason: str) -> None:
    """The error says what to do, and the money waits as before."""
    waiting(bank)
    with pytest.raises(ValueError, match="state a reason of 1 to 500 characters"):
        CupOrders().money.write_off("a1", reason=reason)
    assert CupAttempt.objects.get().state == "review"


def test_the_way_out_for_an_order_whose_payment_cannot_be_booked(bank: Bank) -> None:
    """The bank reports one payment for two attempts. The second order is held, until a person writes the report off.

    Then the order lapses, the same report is no alarm again, and a payment with a number of its own is still taken.
    """
    begin(place(due=timedelta(hours=1)), "a1")
    held = begin(order := place(), "a2")
    bank.pay("a1")
    CupOrders().receive(notify(CupAttempt.objects.get(reference="a1")))
    doubled = notify(held, number="bank-a1")
    assert CupOrders().receive(doubled) is Settled.REVIEW
    assert CupOrders().port().finish([doubled])[str(order.pk)].outcome is Outcome.UNANSWERED, "it is held"
    assert CupOrders().money.write_off("a2", reason="it is the payment of a1") is Settled.WRITTEN_OFF
    assert CupOrders().receive(doubled) is Settled.KNOWN
    assert CupOrders().lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.LAPSED
    held.refresh_from_db()
    assert (held.state, held.alarm) == ("closed", "")
    bank.pay("a2")
    assert CupOrders().receive(notify(held)) is Settled.REVIEW
    assert CupAttempt.objects.get(reference="a2").paid == PRICE


def test_a_repeated_notify_puts_no_refund_off(bank: Bank) -> None:
    """Only the answer to a question that was due decides when the next question follows."""
    attempt = waiting(bank, state=AttemptState.REFUND_DUE)
    CupAttempt.objects.update(asks=0, ask_at="2020-01-01T00:00Z")
    for _ in range(5):
        assert CupOrders().receive(notify(attempt)) is Settled.KNOWN
    attempt.refresh_from_db()
    assert (attempt.asks, f"{attempt.ask_at:%Y}") == (0, "2020")
    assert CupOrders().reconciler().once()[Settled.REFUNDED] == 1


def test_the_bank_is_away_while_a_refund_waits(bank: Bank) -> None:
    """Each question that was due counts, and is followed by a longer pause."""
    attempt = waiting(bank, state=AttemptState.REFUND_DUE)
    bank.payments["a1"].refunds["a1"] = Decimal(1)  # the bank refuses this refund, so a person must decide
    CupAttempt.objects.update(asks=0, ask_at="2020-01-01T00:00Z")
    assert CupOrders().reconciler().once()[Settled.REVIEW] == 1
    attempt.refresh_from_db()
    assert attempt.alarm.startswith("the gateway refuses to refund")
    assert reinstate(CupOrders()) is Settled.REINSTATED, "the bank has refused for good, so the money is there"


@pytest.mark.parametrize("decide", [reinstate, write_off])
def test_a_refund_is_made_after_a_person_decided_otherwise(bank: Bank, decide: Callable[[CupOrders], Settled]) -> None:
    """One process is frozen before the bank is asked. The bank refuses another one's refund, so a person decides.

    Then the first process goes on, and the bank refunds all the same: the money that is gone is found.
    """
    attempt = waiting(bank, state=AttemptState.REFUND_DUE)
    CupAttempt.objects.update(asks=0, ask_at="2020-01-01T00:00Z")
    really = bank.refund

    def frozen(asked: Attempt, amount: Decimal) -> Refund:
        CupOrders().money.refunded(Refund(asked, RefundState.REFUSED, reason="not enough money"))
        assert decide(CupOrders()) is not Settled.KNOWN
        CupAttempt.objects.update(ask_at=None)  # the question that followed the decision found the money
        return really(asked, amount)

    with shadowed(bank, "refund", frozen):
        CupOrders().reconciler().once()
    assert CupOrders().reconciler().once() == {Settled.REFUNDED: 1}
    assert stored(attempt.order).attempts == ["refunded"]
    assert CupOrder.objects.get().turnover == 0
