"""Spin finds no error in the model of orders and money, and one in the model without any of its protections."""

import re
from decimal import Decimal
from importlib import import_module
from itertools import product
from operator import attrgetter
from pathlib import Path
from subprocess import check_output

import pytest

from lapse.orders import (
    Attempt,
    AttemptState,
    Extending,
    Gateway,
    LateMoney,
    Money,
    Orders,
    Record,
    Reviving,
    Ruling,
    Verdict,
)
from lapse.orders.late_money import Effect, OrderState, book
from tests.docs.pages import CHECKOUT
from tests.model.checking import BROKEN, MODEL, WHOLE, Run, missing, search

SOURCE = MODEL.read_text(encoding="utf-8")
PAGE = CHECKOUT / "docs" / "explanation" / "the-model.md"

LARGER = {
    "two attempts and a person": Run({"ATTEMPTS": 2, "TROUBLES": 0}),
    "two workers, a person and two reconcilers": Run({"WORKERS": 2, "RECONCILERS": 2}),
    "never lost, with two attempts": Run({"ATTEMPTS": 2, "PERSONS": 0, "TROUBLES": 0}, "never_lost"),
    "a person decides about two attempts": Run({"DECISIONS": 1, "ATTEMPTS": 2, "PERSONS": 0, "TROUBLES": 0}),
    "no money unseen, and a person decides": Run({"DECISIONS": 1, "PERSONS": 0}, "no_money_unseen"),
    "extended and revived, with two attempts": Run({"EXTENSIONS": 1, "ATTEMPTS": 2, "PERSONS": 0, "TROUBLES": 0}),
    "extended and revived, with a crash": Run({"EXTENSIONS": 1}),
    "never lost, extended and revived": Run({"EXTENSIONS": 1, "PERSONS": 0, "TROUBLES": 0}, "never_lost"),
    "no money unseen, extended and revived": Run({"EXTENSIONS": 1, "PERSONS": 0, "TROUBLES": 0}, "no_money_unseen"),
    "no money unseen, with a person": Run({"TROUBLES": 1}, "no_money_unseen"),
    "no money unseen, with two attempts": Run({"ATTEMPTS": 2, "PERSONS": 0, "TROUBLES": 0}, "no_money_unseen"),
}

AS = {
    AttemptState.CREATED: "open",
    AttemptState.PENDING: "open",
    AttemptState.UNKNOWN: "open",
    AttemptState.CLOSED: "closed",
    AttemptState.FAILED: "closed",
    AttemptState.SUCCEEDED: "paid",
    AttemptState.REFUND_DUE: "refund_due",
    AttemptState.REFUNDED: "refunded",
    AttemptState.REVIEW: "review",
    AttemptState.WRITTEN_OFF: "kept",
}
"""The code's state of an attempt → the model's."""

NO_STEPS = {"deadlines", "unreadable", "remove_alarm"}
"""Methods that arm timers or report, and the one that changes no more than a sentence."""

needs_spin = pytest.mark.skipif(bool(missing()), reason=f"needs {', '.join(missing())}")


@needs_spin
@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_model_has_no_error(name: str, tmp_path: Path) -> None:
    """Nothing breaks any property, at whichever step a process dies. With two attempts, every case of money occurs."""
    found = search(WHOLE[name], tmp_path)
    assert found.violated == ""
    assert found.states > 10_000
    if name == "two attempts":
        assert found.unreached["reconcile"] == ['"-end-"']


@needs_spin
@pytest.mark.long
@pytest.mark.parametrize("name", LARGER)
def test_the_whole_model_has_no_error_with_more_of_everything(name: str, tmp_path: Path) -> None:
    """The same with more processes at once, which has millions of states."""
    assert search(LARGER[name], tmp_path).violated == ""


@needs_spin
@pytest.mark.parametrize("protection", BROKEN)
def test_each_protection_protects(protection: str, tmp_path: Path) -> None:
    """Without it, its property breaks. A trace that the page shows is the one that Spin finds."""
    run, broken = BROKEN[protection]
    found = search(run, tmp_path, shortest=True)
    assert found.violated == broken
    page = PAGE.read_text(encoding="utf-8")
    title = f"Without {protection}: {broken}"
    assert f"| {protection} |" in page
    if title in page:
        shown = page.split(f"{title}\n")[1].split("\n```")[0].split("\n\n")[0]
        assert [line.strip() for line in shown.splitlines()] == found.trace


def test_the_page_shows_two_traces() -> None:
    """The page has the steps of at least two protections, which the test above compares with what Spin finds."""
    assert len(re.findall(r"^Without .*: \w+$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) >= 2


def test_every_step_of_the_model_is_a_function_of_the_code() -> None:
    """What the model says about the code exists there."""
    steps = re.findall(r"code: ([\w.]+):([\w.]+)", SOURCE)
    assert len(steps) == SOURCE.count("code: "), "a step is written as `code: module:function`"
    for module, function in steps:
        assert callable(attrgetter(function)(import_module(module))), f"{module} has no {function}"


@pytest.mark.parametrize("port", [Orders, Money, Gateway, Extending, Reviving])
def test_every_step_of_the_code_is_in_the_model(port: type) -> None:
    """A public method that is new, and takes part in the races, must be added to the model."""
    modelled = {function.rpartition(".")[2] for _, function in re.findall(r"code: ([\w.]+):([\w.]+)", SOURCE)}
    public = {name for each in port.__mro__ for name in vars(each) if not name.startswith("_")}
    steps = {name for name in public if callable(getattr(port, name, None))}
    assert steps - NO_STEPS <= modelled


def test_the_model_has_every_verdict_and_every_state() -> None:
    """A verdict or a state that is new must be added to the model."""
    words = set(re.findall(r"\w+", re.sub(r"/\*.*?\*/", "", SOURCE).split("mtype = {")[1].split("}")[0]))
    assert {verdict.name.lower() for verdict in Verdict} <= words
    assert set(AS) == set(AttemptState)
    assert set(AS.values()) <= words


@needs_spin
def test_the_door_for_money_decides_as_the_code_does(tmp_path: Path) -> None:
    """For each order, attempt and verdict, the model's `receive` has the same result as the code's `book`."""
    orders = {"awaiting": OrderState.UNPAID, "paid": OrderState.PAID, "cancelled": OrderState.CANCELLED}
    cases = list(product(orders, (0, 1), AttemptState, Verdict))
    model = SOURCE.split("/* The clock that judges")[0] + "init {\n"
    for order, stock, state, verdict in cases:
        held = int(order != "cancelled")
        model += f"order = {order}; held = {held}; stock = {stock}; taken = {int(not held and not stock)};\n"
        if held:
            model += "stock = 0;\n"
        model += f"attempt[0] = {AS[state]}; receive(0, {verdict.name.lower()});\n"
        model += 'printf("is %e %e\\n", order, attempt[0]);\n'
    (tmp_path / "door.pml").write_text(model + "}\n", encoding="utf-8")
    printed = check_output(["spin", "-T", "-B", "door.pml"], cwd=tmp_path, text=True)
    decided = [line.split()[1:] for line in printed.splitlines() if line.strip().startswith("is ")]
    assert len(decided) == len(cases), printed
    for (order, stock, state, verdict), (order_after, attempt_after) in zip(cases, decided, strict=True):
        ruling = Ruling(Attempt("1", "1-1", "alipay"), verdict)
        booking = book(_record(state), orders[order], ruling, LateMoney.REINSTATE)
        after = booking.record.state
        if booking.effect is Effect.REINSTATE and not stock:
            after = AttemptState.REFUND_DUE
        pays = booking.effect is Effect.PAY or (booking.effect is Effect.REINSTATE and stock)
        assert (order_after, attempt_after) == ("paid" if pays else order, AS[after]), (order, stock, state, verdict)


def _record(state: AttemptState) -> Record:
    due, nothing = Decimal("8.80"), Decimal(0)
    refunded = state is AttemptState.REFUNDED
    paid = due if state.has_money or refunded else None
    return Record("1-1", "1", "alipay", state, due, paid=paid, refunded=due if refunded else nothing)
