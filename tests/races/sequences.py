"""Short sequences of the money machine's own steps, and the protection without which each of them loses money."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from hypothesis.stateful import MultipleResults

from lapse.integrations.django.rows.attempts import AttemptRows
from lapse.orders import LateMoney, Outcome, Result, Ruling, Verdict, money
from lapse.orders.late_money import AttemptState, Booking, OrderState, Record, book
from lapse.orders.money import Money, Question
from lapse.orders.transition import Transition
from tests.django.databases import ALIAS
from tests.races.cups_world import Cups
from tests.races.faults import Fault
from tests.races.money_machine import money_machine

Remove = Callable[[pytest.MonkeyPatch], None]


class Play:
    """The machine's steps, one by one. After each the books must agree, and at the end everything settles."""

    def __init__(self, dies: int | None) -> None:
        self.machine: Any = money_machine(Cups)()
        self.dies = dies
        """After how many steps the process dies, in a sequence with a crash."""
        self.steps = 0
        """How many steps the last delivery took."""

    def __getattr__(self, rule: str) -> Callable[..., Any]:
        def step(*given: object, **named: object) -> Any:
            found = getattr(self.machine, rule)(*given, **named)
            self.machine.the_books_agree()
            return found.values[0] if isinstance(found, MultipleResults) else found

        return step

    def open(self) -> Any:
        """Open a shop that reinstates, with an order and its link; return the order."""
        return self.machine.open(policy=LateMoney.REINSTATE)

    def deliver(self, notify: Ruling, *, dies: int | None = None) -> None:
        """Let the notify arrive, and count the steps."""
        process = self.machine.world.workers.process
        before = process.steps
        self.machine.deliver(notify, dies)
        self.machine.the_books_agree()
        self.steps = process.steps - before


@dataclass(frozen=True, slots=True)
class Losing:
    """Steps, the protection that is removed, and how the machine's assertion names what is lost."""

    steps: Callable[[Play], None]
    remove: Remove
    says: str


def play(steps: Callable[[Play], None], dies: int | None = None) -> int:
    """Let the steps happen and everything settle. Return how many steps the last delivery took."""
    played = Play(dies)
    steps(played)
    played.machine.teardown()
    return played.steps


# The steps.


def paid_while_the_close_hangs(play: Play) -> None:
    """The bank has closed the attempt, and the buyer's money comes before the answer."""
    order = play.open()
    play.gateway_fails(Fault.HANGS)
    play.lapse(order, None)
    play.deliver(play.pay(order, 0, part=False))
    play.gateway_recovers()


def paid_after_the_cancel_and_the_notify_is_lost(play: Play) -> None:
    """The link is opened late, and no message arrives."""
    order = play.open()
    play.lapse(order, None)
    play.pay(order, 0, part=False)


def the_success_is_reported_after_the_refund(play: Play) -> None:
    """The bank repeats its first message last."""
    order = play.open()
    success = play.pay(order, 0, part=False)
    play.deliver(success)
    play.deliver(play.refund_in_console(order, 0, part=False))
    play.deliver(success)


def the_success_is_reported_twice(play: Play) -> None:
    """The bank repeats its message."""
    order = play.open()
    success = play.pay(order, 0, part=False)
    for _ in range(2):
        play.deliver(success)


def a_part_is_paid(play: Play) -> None:
    """The buyer pays 20 of 58."""
    order = play.open()
    play.deliver(play.pay(order, 0, part=True))


def paid_after_the_cancel_and_the_piece_is_gone(play: Play) -> None:
    """Others hold both pieces when the money comes."""
    order = play.open()
    play.lapse(order, None)
    for _ in range(2):
        play.place(linked=False)
    play.deliver(play.pay(order, 0, part=False))


def the_process_dies_while_it_books(play: Play) -> None:
    """It dies before it stores the attempt."""
    order = play.open()
    play.deliver(play.pay(order, 0, part=False), dies=play.dies)


# The protections.


def believe_step_one(patch: pytest.MonkeyPatch) -> None:
    """Let step three cancel all that step one has begun."""

    def ask(_: Transition[Any], keys: Sequence[str]) -> dict[str, Result]:
        return dict.fromkeys(keys, Result(Outcome.LOCKED))

    patch.setattr(Transition, "_ask", ask)


def never_ask_about_what_was_closed(patch: pytest.MonkeyPatch) -> None:
    """Let the reconciler leave closed attempts out."""
    genuine = AttemptRows.to_ask

    def to_ask(rows: AttemptRows[Any], limit: int, *, within: timedelta) -> list[Question]:
        page = genuine(rows, limit, within=within)
        return [question for question in page if question.record.state is not AttemptState.CLOSED]

    patch.setattr(AttemptRows, "to_ask", to_ask)


def forget(*states: AttemptState) -> Remove:
    """Let an attempt in one of these states be booked as if nothing were known about it."""

    def remove(patch: pytest.MonkeyPatch) -> None:
        def forgetful(record: Record, order: OrderState, ruling: Ruling, policy: LateMoney, **known: bool) -> Booking:
            if record.state in states and ruling.verdict is Verdict.PAID:
                record = replace(record, state=AttemptState.PENDING, paid=None, refunded=Decimal(0))
            return book(record, order, ruling, policy, **known)

        patch.setattr(money, "book", forgetful)

    return remove


def compare_no_amounts(patch: pytest.MonkeyPatch) -> None:
    """Believe that every payment is of the right amount."""

    def trusting(record: Record, order: OrderState, ruling: Ruling, policy: LateMoney, **known: bool) -> Booking:
        return book(record, order, replace(ruling, amount=None), policy, **known)

    patch.setattr(money, "book", trusting)


def reinstate_without_stock(patch: pytest.MonkeyPatch) -> None:
    """Ignore what the shop's `reinstate` returns."""
    patch.setattr(Money, "_reinstate", lambda booking, order: booking._shop.reinstate(order))


def commit_before_the_attempt_is_stored(patch: pytest.MonkeyPatch) -> None:
    """End the transaction in the middle."""
    genuine = AttemptRows.store

    def store(rows: AttemptRows[Any], record: Record, *, ask_in: timedelta | None) -> None:
        connections[ALIAS].connection.commit()
        genuine(rows, record, ask_in=ask_in)

    patch.setattr(AttemptRows, "store", store)


LOSING: Mapping[str, Losing] = {
    "step three reads the locked order again": Losing(
        paid_while_the_close_hangs, believe_step_one, "pay cancelled order"
    ),
    "a closed attempt is asked about again": Losing(
        paid_after_the_cancel_and_the_notify_is_lost,
        never_ask_about_what_was_closed,
        "the shop does not see the money",
    ),
    "a refund is final": Losing(
        the_success_is_reported_after_the_refund, forget(AttemptState.REFUNDED), "a refund is final"
    ),
    "money counts once": Losing(the_success_is_reported_twice, forget(AttemptState.SUCCEEDED), "figures = rows"),
    "amounts are compared": Losing(a_part_is_paid, compare_no_amounts, "does not pay"),
    "no stock, no reinstatement": Losing(
        paid_after_the_cancel_and_the_piece_is_gone, reinstate_without_stock, "stock = on hand - held - sold"
    ),
    "one transaction books": Losing(
        the_process_dies_while_it_books, commit_before_the_attempt_is_stored, "figures = rows"
    ),
}
"""By the protection."""
