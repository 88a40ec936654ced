"""Money that comes after the cancel meets sales, other late money, and its own refund."""

from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from django.db import connections, transaction
from django.db.models import F
from psycopg import IsolationLevel

from lapse.orders import Attempt, Outcome, Refund, RefundState, Ruling, Settled
from lapse.testing.two_at_once import Standstill, in_killed_process, kill_this_process, shadowed
from tests.django.databases import ALIAS, WITH_ROW_LOCKS
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder
from tests.django.wirings.money import PRICE, Bank, CupOrders, begin, place
from tests.races.meeting import at_once, every_yuan_is_known, notify, standing, stored, while_it_stands


def late(cup: Cup, reference: str) -> CupAttempt:
    """Return the attempt of an order of this product that was cancelled."""
    attempt = begin(order := place(cup=cup), reference)
    assert CupOrders().lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.LAPSED
    return attempt


def sell(cup: Cup) -> bool:
    """Sell one piece to another buyer, as a checkout does. Return False if it is sold out."""
    return bool(Cup.objects.filter(pk=cup.pk, stock__gte=1).update(stock=F("stock") - 1))


def ask(attempt: CupAttempt) -> None:
    """Let the time come to ask about this attempt, if a question is planned."""
    CupAttempt.objects.filter(pk=attempt.pk, ask_at__isnull=False).update(ask_at="2020-01-01T00:00Z")


def test_r28_r3_the_last_piece_is_reinstated_while_it_is_sold(bank: Bank) -> None:
    """The sale waits for the reinstatement, and finds no piece."""
    cup = Cup.objects.create(stock=0)
    attempt = late(cup, "a1")
    bank.pay("a1")
    shop = CupOrders()
    with standing(shop, "on_paid") as point:
        met = while_it_stands(point, lambda: shop.receive(notify(attempt)), lambda: sell(cup))
    assert met == (Settled.REINSTATED, False, True)
    assert stored(attempt.order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


def test_r28_r4_the_last_piece_is_sold_while_late_money_comes(bank: Bank) -> None:
    """The reinstatement waits for the sale, and finds no piece: the money goes back."""
    cup = Cup.objects.create(stock=0)
    attempt = late(cup, "a1")
    bank.pay("a1")
    point = Standstill()

    def sell_slowly() -> bool:
        with transaction.atomic(using=ALIAS):
            sold = sell(cup)
            point.stand()
            return sold

    met = while_it_stands(point, sell_slowly, lambda: CupOrders().receive(notify(attempt)))
    assert met == (True, Settled.REFUND_DUE, True)
    CupOrders().reconciler().once()
    assert stored(attempt.order) == ("cancelled", 0, 0, ["refunded"])
    every_yuan_is_known(bank)


@pytest.mark.parametrize("database", WITH_ROW_LOCKS, indirect=True)
def test_r28_r3_two_late_payments_for_the_last_piece(bank: Bank) -> None:
    """Two cancelled orders are paid at once, and one piece is left: one gets it, the other gets the money back."""
    cup = Cup.objects.create(stock=0)
    one, other = late(cup, "a1"), late(cup, "a2")
    Cup.objects.update(stock=1)
    for attempt in (one, other):
        bank.pay(attempt.reference)
    shop = CupOrders()
    with standing(shop, "reinstate") as point:
        met = while_it_stands(point, lambda: shop.receive(notify(one)), lambda: CupOrders().receive(notify(other)))
    assert met == (Settled.REINSTATED, Settled.REFUND_DUE, True)
    CupOrders().reconciler().once()
    assert stored(one.order) == ("paid", PRICE, 0, ["succeeded"])
    assert stored(other.order) == ("cancelled", 0, 0, ["refunded"])
    every_yuan_is_known(bank)


def test_r14_r3_two_late_payments_of_one_order_in_one_step_three(bank: Bank) -> None:
    """Both attempts of a cancelled order were paid: it is reinstated once, and the second payment goes back."""
    order = place()
    attempts = [begin(order, reference) for reference in ("a1", "a2")]
    CupOrders().lapse([str(order.pk)])
    Cup.objects.update(stock=5)
    for attempt in attempts:
        bank.pay(attempt.reference)
    rulings = [notify(attempt) for attempt in attempts]
    CupOrders().port().finish(rulings)
    assert stored(order) == ("paid", PRICE, 4, ["succeeded", "orphaned"])
    CupOrders().reconciler().once()
    assert stored(order) == ("paid", PRICE, 4, ["succeeded", "refunded"])
    every_yuan_is_known(bank)


def due(bank: Bank) -> CupAttempt:
    """Return an attempt whose money must be refunded: the order was cancelled, and the piece is gone."""
    attempt = late(Cup.objects.create(stock=0), "a1")
    Cup.objects.update(stock=0)
    bank.pay("a1")
    assert CupOrders().receive(notify(attempt)) is Settled.REFUND_DUE
    return attempt


@pytest.mark.parametrize(("behind", "requests"), [("refund", 1), ("begin_refund", 2)])
def test_r4_a_second_reconciler_while_the_bank_refunds(bank: Bank, behind: str, requests: int) -> None:
    """The first one stands before or after its request to the bank, longer than a question is put off.

    After it, the second one finds that the money went back. Before it, both request a refund, and the key makes one.
    """
    attempt = due(bank)
    shop = CupOrders()
    with standing(bank if behind == "refund" else shop.money, behind) as point:

        def again() -> None:
            ask(attempt)  # as if the first one had been silent for a minute
            CupOrders().reconciler().once()

        while_it_stands(point, shop.reconciler().once, again)
    assert stored(attempt.order) == ("cancelled", 0, 0, ["refunded"])
    assert bank.calls.count("refund") == requests
    every_yuan_is_known(bank)


def test_r4_many_reconcilers_refund_once(bank: Bank) -> None:
    """The bank answers the first one's query. Meanwhile eight others find nothing to ask about."""
    attempt = due(bank)
    with standing(bank, "query") as point:
        first, others, _ = while_it_stands(
            point, CupOrders().reconciler().once, lambda: at_once(*[CupOrders().reconciler().once for _ in range(8)])
        )
    assert (first, others) == ({Settled.REFUNDED: 1}, [{}] * 8)
    assert (bank.calls.count("query"), bank.calls.count("refund")) == (1, 1)
    assert stored(attempt.order) == ("cancelled", 0, 0, ["refunded"])
    every_yuan_is_known(bank)


def test_r4_m10_refunded_in_the_console_while_lapse_refunds(bank: Bank) -> None:
    """A person is quicker. The bank refuses the second refund, and the attempt leaves the work list by itself."""
    attempt = due(bank)

    def refused(asked: Attempt, amount: object) -> Refund:
        bank.give_back("a1", PRICE)
        return Refund(asked, RefundState.REFUSED, reason=f"{amount} is more than is left")

    with shadowed(bank, "refund", refused):
        CupOrders().reconciler().once()
    assert stored(attempt.order).attempts == ["review"]
    ask(attempt)
    CupOrders().reconciler().once()
    assert stored(attempt.order) == ("cancelled", 0, 0, ["refunded"])
    every_yuan_is_known(bank)


def test_r4_a_part_is_refunded_in_the_console_while_lapse_refunds(bank: Bank) -> None:
    """The bank refuses to refund all of it. A person decides again, and the rest goes back."""
    attempt = due(bank)

    def refused(asked: Attempt, amount: object) -> Refund:
        bank.give_back("a1", PRICE / 2)
        return Refund(asked, RefundState.REFUSED, reason=f"{amount} is more than is left")

    with shadowed(bank, "refund", refused):
        CupOrders().reconciler().once()
    ask(attempt)
    CupOrders().reconciler().once()
    assert stored(attempt.order).attempts == ["review"]
    assert CupOrders().money.decide_refund("a1") is Settled.REFUND_DUE
    CupOrders().reconciler().once()
    assert stored(attempt.order).attempts == ["refunded"]
    every_yuan_is_known(bank)


def test_r27_money_for_an_order_of_last_year(bank: Bank) -> None:
    """No question is planned any more. The rows are kept, so the money has its outcome."""
    attempt = begin(order := place(due=timedelta(days=-365)), "a1")
    CupOrders().lapse([str(order.pk)])
    CupAttempt.objects.update(ask_at=None, asks=6, made_at="2020-01-01T00:00Z")
    bank.pay("a1")
    assert CupOrders().receive(notify(attempt)) is Settled.REINSTATED
    assert stored(order) == ("paid", PRICE, 0, ["succeeded"])
    every_yuan_is_known(bank)


def test_a_refund_of_another_amount_needs_a_person(bank: Bank) -> None:
    """The bank says that it is done, with less than it was asked for: the rest is not forgotten."""
    attempt = due(bank)
    with shadowed(bank, "refund", lambda asked, _: Refund(asked, RefundState.DONE, amount=PRICE / 2)):
        CupOrders().reconciler().once()
    attempt.refresh_from_db()
    assert (attempt.state, attempt.refunded) == ("review", Decimal(0))
    assert attempt.alarm == "the gateway was asked to refund 58.00, and refunded 29.00"


class Branch(Bank):
    """The bank as another process sees it too: its refunds are lines of a file."""

    def __init__(self, ledger: Path) -> None:
        super().__init__()
        self._ledger = ledger
        ledger.touch()

    def read(self, reference: str) -> None:
        """Read what any process has refunded."""
        lines = self._ledger.read_text(encoding="ascii").splitlines()
        payment = self.payments[reference]
        if reference in lines:
            payment.back, payment.refunds = PRICE, {reference: PRICE}

    def query(self, attempt: Attempt) -> Ruling:
        """Return what the bank knows."""
        self.read(attempt.reference)
        return super().query(attempt)

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Refund once, and write the line."""
        self.read(attempt.reference)
        if attempt.reference not in self.payments[attempt.reference].refunds:
            with self._ledger.open("a", encoding="ascii") as file:
                file.write(f"{attempt.reference}\n")
        return super().refund(attempt, amount)

    def refund_status(self, attempt: Attempt) -> Refund:
        """Return what became of the refund."""
        self.read(attempt.reference)
        return super().refund_status(attempt)


@pytest.mark.parametrize("at", ["query", "begin_refund", "_begin_refund", "refund", "refunded", "_refunded"])
def test_r4_r20_killed_at_each_step_of_a_refund(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: str
) -> None:
    """SIGKILL after each call to the bank and each transaction, and before each commit: the money goes back once."""
    assert bank
    branch = Branch(tmp_path / "ledger")
    monkeypatch.setattr(CupOrders, "gateways", {"bank": branch})
    attempt = due(branch)
    shop = CupOrders()
    target = branch if at in ("query", "refund") else shop.money
    method = getattr(target, at)

    def die_behind(*given: object) -> None:
        method(*given)
        kill_this_process()

    def refund() -> None:
        with shadowed(target, at, die_behind):
            shop.reconciler().once()

    connections[ALIAS].close()
    assert in_killed_process(refund) is None
    if at in ("refund", "refunded", "_refunded"):
        assert (tmp_path / "ledger").read_text() == "a1\n"
    for _ in range(2):
        ask(attempt)
        CupOrders().reconciler().once()
    assert (tmp_path / "ledger").read_text() == "a1\n"
    assert stored(attempt.order) == ("cancelled", 0, 0, ["refunded"])
    branch.read("a1")
    every_yuan_is_known(branch)


@pytest.mark.parametrize("database", WITH_ROW_LOCKS, indirect=True)
def test_r20_many_that_ask_are_not_in_each_others_way(bank: Bank) -> None:
    """Eight ask while buyers begin to pay: nothing deadlocks, and each attempt is asked about by one."""
    cup = Cup.objects.create(stock=0)
    orders = [place(due=timedelta(hours=1), cup=cup) for _ in range(8)]
    for number, order in enumerate(orders):
        for place_of in range(4):
            begin(order, f"a{number}-{place_of}")
    CupAttempt.objects.update(ask_at="2020-01-01T00:00Z")

    def begin_many(order: CupOrder) -> list[str]:
        return [begin(order, f"b{order.pk}-{number}").reference for number in range(10)]

    def take(_: CupOrder) -> list[str]:
        rows = CupOrders().money.attempts
        return [each.record.reference for _ in range(10) for each in rows.to_ask(3, within=timedelta(minutes=1))]

    taken = at_once(*[partial(take, order) for order in orders], *[partial(begin_many, order) for order in orders])
    asked = [reference for of_one in taken[:8] for reference in of_one]
    assert sorted(asked) == sorted(f"a{number}-{place_of}" for number in range(8) for place_of in range(4))
    assert bank.calls == []


def test_r20_many_that_ask_in_sessions_with_a_stricter_level(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under REPEATABLE READ, none of eight fails because another one has asked in between."""
    connection = connections[ALIAS]
    strict = {**connection.settings_dict["OPTIONS"], "isolation_level": IsolationLevel.REPEATABLE_READ}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", strict)
    for _ in range(8):
        order = place(due=timedelta(hours=1))
        for number in range(20):
            begin(order, f"a{order.pk}-{number}")
    CupAttempt.objects.update(ask_at="2020-01-01T00:00Z")

    def take() -> int:
        rows = CupOrders().money.attempts
        return sum(len(rows.to_ask(3, within=timedelta(minutes=1))) for _ in range(20))

    assert sum(at_once(*[take] * 8)) == 160
    assert bank.calls == []
