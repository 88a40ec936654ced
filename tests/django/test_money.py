"""Money that comes to a shop whose attempts Lapse keeps, on each kind of database."""

import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connections, transaction
from django.db.models.functions import Now
from django.utils import timezone

from lapse.integrations.django.attempts import State
from lapse.orders import Attempt, LateMoney, Outcome, Ruling, Service, ServiceOptions, Settled, UnknownAttempt, Verdict
from lapse.orders.retries import Retries
from tests.django.adopter.threads import PATIENCE, in_thread, wait_until
from tests.django.databases import ALIAS
from tests.django.racing import a_transaction_waits
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder
from tests.django.wirings.money import PRICE, Bank, CupOrders, begin, place

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

LATER = timedelta(hours=1)
PART = Decimal("20.00")


@pytest.fixture(autouse=True)
def bank(monkeypatch: pytest.MonkeyPatch) -> Bank:
    """Open a new bank for the shop."""
    opened = Bank()
    monkeypatch.setattr(CupOrders, "gateways", {"bank": opened})
    return opened


def paid(attempt: CupAttempt, amount: Decimal = PRICE, *, back: Decimal | None = None) -> Ruling:
    """Return a notify of the bank."""
    named = Attempt(str(attempt.order_id), attempt.reference, "bank")
    return Ruling(named, Verdict.PAID, amount=amount, refunded=back, provider_reference=f"bank-{attempt.reference}")


def stored(attempt: CupAttempt) -> tuple[str, str, Decimal | int, int]:
    """Return the states of attempt and order, the turnover, and the pieces that are not held."""
    attempt.refresh_from_db()
    order = CupOrder.objects.get(pk=attempt.order_id)
    return attempt.state, order.status, order.turnover, Cup.objects.get(pk=order.cup_id).stock


def ask(attempt: CupAttempt) -> Counter[Settled]:
    """Let the time come to ask the gateway about the attempt, and reconcile."""
    CupAttempt.objects.filter(pk=attempt.pk).update(ask_at=Now())
    return CupOrders().reconciler().once()


def test_a_notify_pays_the_order_once() -> None:
    """The same notify again says nothing new."""
    attempt = begin(place(due=LATER), "a1")
    assert CupOrders().receive(paid(attempt)) is Settled.PAID
    assert CupOrders().receive(paid(attempt)) is Settled.KNOWN
    assert stored(attempt) == (State.SUCCEEDED, "paid", PRICE, 0)
    assert attempt.paid == PRICE
    assert attempt.ask_at is None


def test_a_notify_inside_a_transaction_of_the_shop_sees_what_was_booked_meanwhile(database: str) -> None:
    """R5: the transaction has read the attempt before another process booked the same notify.

    On MariaDB, a transaction under REPEATABLE READ goes on reading what it read first.
    """
    if database == "mariadb":
        connections[ALIAS].settings_dict["OPTIONS"]["isolation_level"] = "repeatable read"
        connections[ALIAS].close()
    attempt = begin(place(due=LATER), "a1")
    with transaction.atomic(using=ALIAS):
        if database == "sqlite":  # there, the other process waits for the whole transaction
            assert CupOrders().receive(paid(attempt)) is Settled.PAID
        assert CupAttempt.objects.get(pk=attempt.pk).state == attempt.state or database == "sqlite"
        if database != "sqlite":
            assert in_thread(lambda: CupOrders().receive(paid(attempt))).result() is Settled.PAID
        assert CupOrders().receive(paid(attempt)) is Settled.KNOWN
    assert stored(attempt) == (State.SUCCEEDED, "paid", PRICE, 0)


def test_an_unknown_attempt_is_refused() -> None:
    """R6: the notify may have overtaken the order's own transaction, so the gateway must send it again."""
    with pytest.raises(UnknownAttempt, match="'bank' has no attempt 'a1'"):
        CupOrders().receive(Ruling(Attempt("1", "a1", "bank"), Verdict.PAID))
    with pytest.raises(UnknownAttempt, match="has no attempt"):
        CupOrders().receive(Ruling(Attempt("1", "a\0", "bank"), Verdict.PAID))
    attempt = begin(place(due=LATER), "a1")
    with pytest.raises(UnknownAttempt, match="'till' has no attempt 'a1'"):
        CupOrders().receive(Ruling(Attempt("1", attempt.reference, "till"), Verdict.PAID))


def test_money_that_lapsing_finds_pays_the_order(bank: Bank) -> None:
    """R2, R7: step two finds the payment whose notify was lost."""
    attempt = begin(order := place(), "a1")
    bank.pay("a1")
    assert CupOrders().lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.PAID
    assert stored(attempt) == (State.SUCCEEDED, "paid", PRICE, 0)


@pytest.mark.parametrize("policy", LateMoney)
@pytest.mark.parametrize("stock", [True, False])
def test_money_after_the_cancel(bank: Bank, monkeypatch: pytest.MonkeyPatch, policy: LateMoney, stock: bool) -> None:
    """M1, M6, R3, R4: the link is paid after the order lapsed, and the notify is lost. The reconciler finds it."""
    monkeypatch.setattr(CupOrders, "late_money", policy)
    attempt = begin(order := place(), "a1")
    assert CupOrders().lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.LAPSED
    assert stored(attempt) == (State.CLOSED, "cancelled", 0, 1)
    if not stock:
        Cup.objects.update(stock=0)
    bank.pay("a1")
    (news,) = ask(attempt)
    if policy is LateMoney.REVIEW:
        assert news is Settled.REVIEW
        assert stored(attempt) == (State.REVIEW, "cancelled", 0, int(stock))
    elif policy is LateMoney.REINSTATE and stock:
        assert news is Settled.REINSTATED
        assert stored(attempt) == (State.SUCCEEDED, "paid", PRICE, 0)
    else:
        assert news is Settled.REFUND_DUE
        assert list(CupOrders().reconciler().once()) == [Settled.REFUNDED]
        assert stored(attempt) == (State.REFUNDED, "cancelled", 0, int(stock))
        assert bank.payments["a1"].back == PRICE


def test_a_link_that_is_opened_after_the_cancel_is_closed(bank: Bank) -> None:
    """M1: the gateway had no such trade, so the order lapsed. Then the buyer opens the link, and could pay it."""
    attempt = begin(order := place(), "a1")
    CupOrders().lapse([str(order.pk)])
    bank.payments["a1"].closed = False
    ask(attempt)
    assert bank.payments["a1"].closed
    assert stored(attempt) == (State.CLOSED, "cancelled", 0, 1)


def test_a_second_payment_is_found_and_refunded(bank: Bank) -> None:
    """M2, R14: once the first attempt has paid the order, the second is closed, or its money refunded."""
    order = place(due=LATER)
    first, second, third = (begin(order, reference) for reference in ("a1", "a2", "a3"))
    bank.pay("a2")
    assert CupOrders().receive(paid(first)) is Settled.PAID
    reconciler = CupOrders().reconciler()
    assert reconciler.once() == {Settled.REFUND_DUE: 1, Settled.NOTED: 1}
    assert reconciler.once() == {Settled.REFUNDED: 1}
    assert [stored(attempt)[0] for attempt in (first, second, third)] == [State.SUCCEEDED, State.REFUNDED, State.CLOSED]
    assert stored(first)[1:] == ("paid", PRICE, 0)
    assert bank.payments["a3"].closed


def test_a_refund_is_final() -> None:
    """M3: the refund is reported first, and the success after it."""
    attempt = begin(place(due=LATER), "a1")
    refund = Ruling(paid(attempt).attempt, Verdict.REFUNDED, amount=PRICE, refunded=PRICE, provider_reference="bank-a1")
    assert CupOrders().receive(refund) is Settled.REFUNDED
    assert CupOrders().receive(paid(attempt)) is Settled.KNOWN
    assert stored(attempt) == (State.REFUNDED, "awaiting", 0, 0)


def test_a_refund_in_parts_counts_each_part_once() -> None:
    """M4: the turnover follows, also where a part is reported twice or late."""
    attempt = begin(place(due=LATER), "a1")
    shop = CupOrders()
    shop.receive(paid(attempt))
    reports = [shop.receive(paid(attempt, back=back)) for back in (PART, PART, 2 * PART, PART)]
    assert reports == [Settled.REFUNDED, Settled.KNOWN, Settled.REFUNDED, Settled.KNOWN]
    assert stored(attempt) == (State.SUCCEEDED, "paid", PRICE - 2 * PART, 0)


def test_a_wrong_amount_is_refunded_and_the_order_lapses(bank: Bank) -> None:
    """M5, R13: a part is not "unpaid", and not "paid": it goes back, and the order lapses at its deadline."""
    attempt = begin(order := place(), "a1")
    bank.pay("a1", PART)
    shop = CupOrders()
    shop.lapse([str(order.pk)])
    assert shop.reconciler().once() == {Settled.REFUNDED: 1}
    assert shop.lapse([str(order.pk)])[str(order.pk)].outcome in (Outcome.LAPSED, Outcome.NOT_UNPAID)
    assert stored(attempt) == (State.REFUNDED, "cancelled", 0, 1)
    assert bank.payments["a1"].back == PART


def test_money_given_back_at_the_provider_leaves_the_work_list(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """M10: a person used the provider's own console."""
    monkeypatch.setattr(CupOrders, "late_money", LateMoney.REVIEW)
    attempt = begin(order := place(), "a1")
    CupOrders().lapse([str(order.pk)])
    bank.pay("a1")
    ask(attempt)
    bank.give_back("a1", PRICE)
    assert ask(attempt) == {Settled.REFUNDED: 1}
    assert stored(attempt)[0] == State.REFUNDED
    assert attempt.alarm == ""


def test_a_refund_whose_answer_is_lost_is_made_once(bank: Bank) -> None:
    """R4: the bank refunds and its answer is lost; the second try learns that it was done."""
    attempt = begin(order := place(), "a1")
    CupOrders().lapse([str(order.pk)])
    Cup.objects.update(stock=0)
    bank.pay("a1")
    ask(attempt)
    with bank.away():
        assert not ask(attempt)
    assert stored(attempt)[0] == State.REFUND_DUE
    assert attempt.ask_at is not None
    assert ask(attempt) == {Settled.REFUNDED: 1}
    assert bank.payments["a1"].back == PRICE


def test_a_refund_that_is_refused_needs_a_person(bank: Bank) -> None:
    """R4: the work list names the reason, and the gateway is asked on."""
    attempt = begin(order := place(), "a1")
    CupOrders().lapse([str(order.pk)])
    Cup.objects.update(stock=0)
    bank.pay("a1")
    bank.refuses = True
    ask(attempt)
    assert ask(attempt) == {Settled.REVIEW: 1}
    assert stored(attempt)[0] == State.REVIEW
    assert attempt.alarm == "the gateway refuses to refund 58.00: the bank says no"
    assert attempt.ask_at is not None


def test_a_person_decides_to_refund(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """M5: the money in review is refunded, once, by the same door; a second decision changes nothing."""
    monkeypatch.setattr(CupOrders, "late_money", LateMoney.REVIEW)
    attempt = begin(order := place(), "a1")
    bank.pay("a1", PART)
    shop = CupOrders()
    shop.lapse([str(order.pk)])
    assert stored(attempt)[0] == State.REVIEW
    assert attempt.alarm == "20.00 was paid, and 58.00 was due"
    assert shop.money.remove_alarm("a1") == Settled.KNOWN, "the money still needs a decision"
    assert stored(attempt)[0] == State.REVIEW
    assert attempt.alarm
    assert shop.money.decide_refund("a1") == Settled.REFUND_DUE
    assert stored(attempt)[0] == State.REFUND_DUE
    assert attempt.alarm == ""
    assert shop.money.decide_refund("a1") == Settled.KNOWN
    assert shop.reconciler().once() == {Settled.REFUNDED: 1}
    assert shop.money.decide_refund("a1") == Settled.KNOWN
    assert stored(attempt)[0] == State.REFUNDED
    assert bank.payments["a1"].back == PART


def test_a_decision_waits_for_a_report_that_came_first(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """The bank's console refunds while a person decides: the money goes back once, whichever is booked first."""
    monkeypatch.setattr(CupOrders, "late_money", LateMoney.REVIEW)
    attempt = begin(order := place(), "a1")
    bank.pay("a1", PART)
    shop = CupOrders()
    shop.lapse([str(order.pk)])
    with transaction.atomic(using=ALIAS):
        bank.give_back("a1", PART)
        CupOrders().receive(paid(attempt, PART, back=PART))
        decided = in_thread(lambda: CupOrders().money.decide_refund("a1"))
        if database != "sqlite":  # there, a statement that waits cannot be seen
            wait_until(a_transaction_waits)
    assert decided.result(PATIENCE) == Settled.KNOWN
    assert stored(attempt)[0] == State.REFUNDED
    assert bank.payments["a1"].back == PART


def test_a_decision_keeps_the_alarm_about_another_payment(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refund of one payment says nothing about the second one, which a person must still look for."""
    monkeypatch.setattr(CupOrders, "late_money", LateMoney.REVIEW)
    attempt = begin(order := place(), "a1")
    bank.pay("a1", PART)
    shop = CupOrders()
    shop.lapse([str(order.pk)])
    shop.receive(replace(paid(attempt, PART), provider_reference="2"))
    assert shop.money.decide_refund("a1") == Settled.REFUND_DUE
    assert shop.reconciler().once() == {Settled.REFUNDED: 1}
    assert stored(attempt)[0] == State.REFUNDED
    assert attempt.alarm == "two payments for one attempt: bank-a1 and 2"
    assert shop.money.remove_alarm("a1") == Settled.NOTED
    assert stored(attempt)[0] == State.REFUNDED
    assert attempt.alarm == ""


def test_an_alarm_that_a_person_has_dealt_with() -> None:
    """The order stays paid; the gateway's number of another payment is the alarm, until a person removes it."""
    attempt = begin(place(), "a1")
    shop = CupOrders()
    shop.receive(paid(attempt))
    other = Ruling(Attempt(str(attempt.order_id), "a1", "bank"), Verdict.PAID, amount=PRICE, provider_reference="2")
    assert shop.receive(other) == Settled.REVIEW
    before = stored(attempt)
    assert attempt.alarm == "two payments for one attempt: bank-a1 and 2"
    assert shop.money.decide_refund("a1") == Settled.KNOWN, "it is not in review: its money has paid the order"
    assert shop.money.remove_alarm("a1") == Settled.NOTED
    assert stored(attempt) == before
    assert attempt.alarm == ""
    assert shop.money.remove_alarm("a1") == Settled.KNOWN
    with pytest.raises(UnknownAttempt):
        shop.money.remove_alarm("a2")


def test_a_bank_that_is_away_uses_up_no_question(bank: Bank) -> None:
    """A closed attempt is asked about a few times only; a question without an answer is none of these."""
    attempt = begin(order := place(), "a1")
    CupOrders().lapse([str(order.pk)])
    with bank.away():
        for _ in range(10):
            ask(attempt)
    bank.pay("a1")
    assert ask(attempt) == {Settled.REINSTATED: 1}


def test_two_processes_ask_about_different_attempts() -> None:
    """An attempt that one process asks about is left alone by the others for a minute."""
    order = place(due=LATER)
    for number in range(5):
        begin(order, f"a{number}")
    CupAttempt.objects.update(ask_at=Now())
    shop = CupOrders()
    rows = shop.money.attempts
    first = rows.to_ask(3, within=LATER)
    second = rows.to_ask(3, within=LATER)
    references = [question.record.reference for question in [*first, *second]]
    assert sorted(references) == [f"a{number}" for number in range(5)]
    assert not rows.to_ask(3, within=LATER)


@pytest.mark.parametrize("by_buyer", [True, False], ids=["buyer", "timer"])
def test_what_a_crash_interrupted_is_finished_long_before_the_deadline(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, by_buyer: bool
) -> None:
    """M11, M8: the process that began to cancel is gone, and the deadline is an hour away.

    The cancel of a person is finished. An order that the timer began to close, and that was extended, waits again.
    """
    monkeypatch.setattr(Retries, "add", lambda *_: None)  # this process does not live to try again
    attempt = begin(order := place(due=LATER if by_buyer else -LATER), "a1")
    with bank.away():
        if by_buyer:
            CupOrders().cancel([order], by="buyer 7", reason="buyer")
        else:
            CupOrders().lapse([str(order.pk)])
    CupOrder.objects.update(pay_by=timezone.now() + LATER)
    assert stored(attempt)[1] == "closing"
    ask(attempt)  # by another process, which is a new object
    wait_until(lambda: stored(attempt)[1] == ("cancelled" if by_buyer else "awaiting"))
    order.refresh_from_db()
    assert order.reason == ("buyer" if by_buyer else "")


def test_a_worker_reconciles_beside_the_sweep(bank: Bank) -> None:
    """The service finds the money of an attempt whose order lapsed, refunds it, and stops cleanly."""
    attempt = begin(place(), "a1")
    orders = CupOrders()
    service = Service(
        orders.port(background=True).lapsing(),
        None,
        options=ServiceOptions(sweep_alone=timedelta(milliseconds=50)),
        beside={"lapse-reconciler": orders.reconciler(every=timedelta(milliseconds=50))},
        after_thread=connections.close_all,
    )
    worker = threading.Thread(target=service.run)
    worker.start()
    try:
        wait_until(lambda: stored(attempt)[:2] == (State.CLOSED, "cancelled"))
        Cup.objects.update(stock=0)
        bank.pay("a1")
        CupAttempt.objects.update(ask_at=Now())
        wait_until(lambda: stored(attempt)[:2] == (State.REFUNDED, "cancelled"))
    finally:
        service.stop()
        worker.join()
    assert bank.payments["a1"].back == PRICE


def test_a_finished_attempt_that_is_asked_about_is_asked_once(bank: Bank) -> None:
    """A notify with a wrong amount asks for it. The gateway says nothing new, so it is not asked again each minute."""
    attempt = begin(place(due=LATER), "a1")
    shop = CupOrders()
    shop.receive(paid(attempt))
    bank.pay("a1")
    shop.money.attempts.ask_now("a1")
    assert shop.reconciler().once() == {}
    assert stored(attempt) == (State.SUCCEEDED, "paid", PRICE, 0)
    assert attempt.ask_at is None


def test_a_page_asks_about_an_attempt_whose_order_is_over(bank: Bank) -> None:
    """M1: the buyer comes back with a link that was paid after the order lapsed. Other answers change nothing."""
    attempt = begin(order := place(), "a1")
    shop = CupOrders()
    shop.lapse([str(order.pk)])
    attempt.refresh_from_db()
    asks = attempt.asks
    assert shop.ask("a1") is Verdict.CLOSED
    assert stored(attempt) == (State.CLOSED, "cancelled", 0, 1)
    assert attempt.asks == asks, "a buyer who reloads the page must not use up the worker's questions"
    bank.pay("a1")
    assert shop.ask("a1") is Verdict.PAID
    assert stored(attempt) == (State.SUCCEEDED, "paid", PRICE, 0)
    with pytest.raises(UnknownAttempt, match="no attempt 'a2'"):
        shop.ask("a2")


def test_a_page_does_not_wait_for_a_gateway_that_hangs(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """M1: the page is shown without an answer. A worker asks soon, also about an attempt that was not to be asked."""
    attempt = begin(order := place(), "a1")
    shop = CupOrders()
    shop.lapse([str(order.pk)])
    CupAttempt.objects.update(ask_at=None)
    bank.pay("a1")
    answering = threading.Event()
    genuine = bank.query

    def slow(asked: Attempt) -> Ruling:
        assert answering.wait(30)
        return genuine(asked)

    with monkeypatch.context() as patched:
        patched.setattr(bank, "query", slow)
        assert shop.ask("a1", wait=timedelta(milliseconds=50)) is Verdict.UNKNOWN
        answering.set()
    assert stored(attempt)[:2] == (State.CLOSED, "cancelled")
    assert shop.reconciler().once() == {Settled.REINSTATED: 1}
