"""The short form of the load test, and the invented past of a demo."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from shop.catalogue.models import Product
from shop.console.demo import invent_past
from shop.orders.models import Order
from shop.statistics.books_check import CHECKS
from shop.statistics.models import Tally
from tests.shop.rehearsal import assert_no_drift

ROOT = Path(__file__).parents[2]
LOAD = [sys.executable, "-m", "benchmarks.shop_load"]


@pytest.mark.long
def test_ten_buyers_for_ten_seconds() -> None:
    """They place, pay, cancel and abandon orders; nothing fails, nothing is oversold, the books are right."""
    short = [*LOAD, "--buyers", "10", "--seconds", "10", "--window", "8"]
    done = subprocess.run(short, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Nothing wrong: no 5xx, no oversell, books right." in said
    assert f"audit: {len(CHECKS)} checks agree" in said
    for word in ("paid", "cancelled expired", "lateness"):
        assert word in said, said


@pytest.mark.parametrize("words", [["--buyers", "0"], ["http://127.0.0.1:1"]])
def test_a_wrong_call_is_refused(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong call ends with status 2 and says what is missing."""
    monkeypatch.delenv("MERCHANT_PASSWORD", raising=False)
    done = subprocess.run([*LOAD, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error:" in done.stderr


def test_an_invented_past_is_consistent(cup: Product, pot: Product) -> None:
    """The audit finds nothing, no order waits, and the stock is as it was."""
    Product.objects.create(sku="TEA", name="Tea", price=pot.price, on_hand=3)
    invent_past(300, days=5)
    assert Order.objects.filter(status__in=["paid", "cancelled"]).count() == 300
    assert sum(tally.count for tally in Tally.objects.all()) == 600
    cup.refresh_from_db()
    assert (cup.on_hand, cup.held) == (10, 0)
    assert_no_drift()


@pytest.mark.django_db
def test_a_past_wants_products() -> None:
    """Without products, or with 0 orders, the command says what is missing."""
    with pytest.raises(CommandError, match=r"manage\.py seed"):
        call_command("invent_past", "5")
    with pytest.raises(CommandError, match="greater than 0"):
        call_command("invent_past", "0")
