"""The shop of cups, for `money_machine`: the package's door for money, and a bank in memory."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from lapse.integrations.django.attempts import State
from lapse.orders import Attempt, LateMoney, Refund, RefundState, Ruling
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder
from tests.django.wirings.money import PRICE, UNPAID, Bank, CupOrders, Payment
from tests.races.faults import FaultyGateway
from tests.races.settled import Books, assert_settled
from tests.races.workers import Workers

ON_HAND = 2
LATER = timedelta(hours=1)
PART = Decimal("20.00")


class Shop(CupOrders):
    """The shop of cups, whose orders can be paid again if they were extended in time."""

    reopened = {"status": "awaiting"}  # noqa: RUF012


class CappedBank(Bank):
    """A bank that refunds no more than was paid, as Alipay, and that closes what the buyer has opened for good."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: set[str] = set()

    def can_pay(self, reference: str) -> bool:
        """Return whether the buyer can pay: not twice, and not a payment that was opened and closed."""
        payment = self.payments.get(reference, Payment())
        return payment.paid is None and not (payment.closed and reference in self.opened)

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Refund the money once, and not more than there is."""
        payment = self.payments[attempt.reference]
        if attempt.reference not in payment.refunds and payment.back + amount > (payment.paid or 0):
            return Refund(attempt, RefundState.REFUSED, reason="so much is not left")
        return super().refund(attempt, amount)


@dataclass
class Cups:
    """A product, its orders, their attempts, the bank, and the processes of the shop."""

    policy: LateMoney
    bank: CappedBank = field(default_factory=CappedBank)

    def __post_init__(self) -> None:
        for model in (CupAttempt, CupOrder, Cup):
            model.objects.all().delete()
        self.cup = Cup.objects.create(stock=ON_HAND)
        self.faulty = FaultyGateway(self.bank)
        Shop.gateways = {"bank": self.faulty}
        Shop.late_money = self.policy
        self.workers = Workers(Shop, self.faulty)
        self.refunded_in_console: set[str] = set()
        self.final: set[str] = set()
        self._numbers = iter(range(1, 1_000_000))

    # What people do.

    def place(self) -> int | None:
        """Place an order that is not due yet; return its key, or None without stock."""
        with transaction.atomic("wirings"):
            if not Cup.objects.filter(stock__gte=1).update(stock=F("stock") - 1):
                return None
            order: CupOrder = CupOrder.objects.create(cup=self.cup, pay_by=Now() + LATER)
            return order.pk

    def link(self, order: int) -> str | None:
        """Open an attempt to pay; return its reference, or None if the order cannot be paid."""
        with transaction.atomic("wirings"):
            payable = CupOrder.objects.select_for_update().filter(pk=order, status="awaiting", pay_by__gt=Now())
            if not payable.exists():
                return None
            reference = f"a{next(self._numbers)}"
            CupAttempt.objects.create(order_id=order, reference=reference, gateway="bank", amount=PRICE)
            return reference

    def scan(self, reference: str) -> None:
        """Let the buyer open the link."""
        if self.bank.can_pay(reference):
            self.bank.opened.add(reference)
            self.bank.payments.setdefault(reference, Payment())

    def pay(self, reference: str, *, part: bool) -> bool:
        """Let the buyer pay the link if it can be paid. Return whether the buyer has paid."""
        asked_on = CupAttempt.objects.filter(reference=reference, ask_at__isnull=False)
        if not self.bank.can_pay(reference) or not asked_on.exists():  # the link has ended long ago
            return False
        self.bank.pay(reference, PART if part else PRICE)
        return True

    def report(self, reference: str) -> Ruling | None:
        """Return the bank's notify about its present state, or None if it has nothing to report."""
        if (attempt := CupAttempt.objects.get(reference=reference)).reference not in self.bank.payments:
            return None
        return self.bank._ruling(Attempt(str(attempt.order_id), reference, "bank"))

    def deliver(self, ruling: Ruling, *, steps: int | None) -> None:
        """Let the notify arrive."""
        self.workers.act(lambda shop: shop.receive(ruling), steps=steps)

    def refund_in_console(self, reference: str, *, part: bool) -> None:
        """Refund all that is left, or a part of it, at the bank's own console."""
        payment = self.bank.payments.get(reference, Payment())
        if left := (payment.paid or 0) - payment.back:
            self.refunded_in_console.add(reference)
            self.bank.give_back(reference, min(Decimal("7.00"), left) if part else left)

    def cancel(self, order: int, *, by: str, steps: int | None) -> None:
        """Let a person cancel the order."""
        one = CupOrder.objects.get(pk=order)
        self.workers.act(lambda shop: shop.cancel([one], by=by, reason=by), steps=steps)

    def extend(self, order: int) -> None:
        """Move the deadline of an unpaid order to a later time."""
        CupOrder.objects.filter(UNPAID, pk=order).update(pay_by=Now() + LATER)

    def come_due(self, order: int) -> None:
        """Let the order's time be over."""
        CupOrder.objects.filter(pk=order).update(pay_by=Now() - LATER)

    def lapse(self, *, steps: int | None) -> None:
        """Lapse what is overdue, as the sweep does."""
        self.workers.act(self.workers.lapse, steps=steps)

    def reconcile(self, *, steps: int | None) -> None:
        """Let the time come to ask about each attempt, and reconcile."""
        CupAttempt.objects.filter(ask_at__isnull=False).update(ask_at=Now() - LATER)
        self.workers.act(lambda shop: shop.reconciler().once(), steps=steps)

    # What must be true.

    def check(self) -> None:
        """Assert what is true after every step."""
        orders = CupOrder.objects.all()
        held = orders.filter(UNPAID).count() + orders.filter(status="paid").count()
        assert Cup.objects.get().stock == ON_HAND - held, "stock = on hand - held - sold"
        for order in orders:
            paying = [attempt for attempt in order.attempts.all() if attempt.state == State.SUCCEEDED]
            assert len(paying) <= (order.status == "paid"), f"{paying} pay {order}"
            assert order.turnover == sum(one.amount - one.refunded for one in paying), "figures = rows"
            for attempt in paying:
                payment = self.bank.payments[attempt.reference]
                assert payment.paid == attempt.amount, f"{payment} does not pay {order}"
                assert attempt.refunded <= payment.back
        refunded = set(CupAttempt.objects.filter(state=State.REFUNDED).values_list("reference", flat=True))
        assert refunded >= self.final, f"a refund is final, and these were refunded: {self.final - refunded}"
        self.final = refunded
        for reference, payment in self.bank.payments.items():
            assert payment.back <= (payment.paid or 0), f"{reference} was refunded twice"

    def settle(self) -> None:
        """Let everything settle: the bank answers, each order is due, and each attempt is asked about."""
        self.workers.recover()
        CupOrder.objects.filter(UNPAID).update(pay_by=Now() - LATER)
        before: object = None
        while before != (before := self._state()):
            self.workers.restart()
            self.lapse(steps=None)
            self.reconcile(steps=None)
        for attempt in CupAttempt.objects.filter(state=State.SUCCEEDED):  # the notify of a refund comes at last
            if (report := self.report(attempt.reference)) is not None:
                self.deliver(report, steps=None)

    def check_settled(self) -> None:
        """Assert that no money is lost: it is on a paid order, or refunded, or on the work list."""
        self.check()
        books = []
        for attempt in CupAttempt.objects.select_related("order"):
            payment = self.bank.payments.get(attempt.reference, Payment())
            by_console = attempt.reference in self.refunded_in_console
            status = attempt.order.status
            books.append(
                Books(attempt=attempt, status=status, paid=payment.paid, back=payment.back, by_console=by_console)
            )
        assert_settled(books, self.policy)
        assert not CupOrder.objects.filter(UNPAID).exists()
        paid = CupOrder.objects.filter(status="paid")
        proven = paid.filter(attempts__state__in=[State.SUCCEEDED, State.REFUNDED]).distinct()
        assert proven.count() == paid.count(), "no order is paid without money"

    def _state(self) -> Counter[tuple[object, ...]]:
        rows: Iterator[tuple[object, ...]] = CupAttempt.objects.values_list(
            "reference", "state", "paid", "refunded", "refunding", "order__status", "order__turnover"
        ).iterator()
        return Counter(rows)
