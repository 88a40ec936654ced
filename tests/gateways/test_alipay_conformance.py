"""The Alipay gateway passes the gateway suite; and the suite fails for gateways that are wrong on purpose."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from lapse.gateways.alipay import AlipayError, AlipayGateway, AlipaySettings
from lapse.orders import Attempt, Ruling, Verdict
from lapse.testing.alipay import AlipaySimulator, Authority, KeyPair
from lapse.testing.clock import ManualClock
from lapse.testing.gateway_conformance import Fault, GatewayConformance, Provider
from tests.gateways.alipay_provider import AlipayProvider, alipay_simulator

Opened = tuple[AlipaySimulator, ManualClock, AlipaySettings]


@pytest.fixture(scope="module")
def simulator(app_keys: KeyPair, alipays_keys: KeyPair) -> Iterator[Opened]:
    """Start one simulator for all tests of this module; each test has attempts of its own."""
    with alipay_simulator(app_keys, alipays_keys) as opened:
        yield opened


@pytest.fixture(scope="module", params=["keys", "certificates"])
def each_simulator(
    request: pytest.FixtureRequest, app_keys: KeyPair, alipays_keys: KeyPair, authority: Authority
) -> Iterator[Opened]:
    """Start a simulator in each of the two modes."""
    chosen = authority if request.param == "certificates" else None
    with alipay_simulator(app_keys, alipays_keys, authority=chosen) as opened:
        yield opened


class TestAlipay(GatewayConformance):
    """The gateway against the simulator, over HTTP, in both modes."""

    charset = "utf-8"

    @pytest.fixture
    def provider(self, each_simulator: Opened) -> Iterator[Provider]:
        """Return the simulator with the gateway."""
        with AlipayProvider(*each_simulator, AlipayGateway, self.charset) as provider:
            yield provider


@pytest.mark.long
class TestAlipayInGbk(TestAlipay):
    """The same where Alipay answers in GBK."""

    charset = "gbk"


# --- gateways that are wrong on purpose ---


class SilenceIsClosed(AlipayGateway):
    """Maps a failed call to CLOSED."""

    def _close(self, attempt: Attempt) -> Ruling:
        try:
            return super()._close(attempt)
        except AlipayError:
            return Ruling(attempt, Verdict.CLOSED)


class UnknownTradeIsClosed(AlipayGateway):
    """Maps "does not exist" to CLOSED while the link can be paid."""

    def _without_trade(self, attempt: Attempt) -> Ruling:
        return Ruling(attempt, Verdict.CLOSED)


class UnknownTradeIsNeverClosed(AlipayGateway):
    """Keeps an order for ever whose link no buyer opened."""

    def _without_trade(self, attempt: Attempt) -> Ruling:
        return Ruling(attempt, Verdict.UNKNOWN)


class PaidIsClosed(AlipayGateway):
    """Believes that a trade which cannot be closed is closed, and never queries."""

    def close(self, attempt: Attempt) -> Ruling:
        """Return CLOSED for PAID."""
        ruling = super().close(attempt)
        return replace(ruling, verdict=Verdict.CLOSED) if ruling.verdict is Verdict.PAID else ruling


class PaidIsSwallowed(AlipayGateway):
    """Finds the money and does not report it."""

    def close(self, attempt: Attempt) -> Ruling:
        """Return UNKNOWN for PAID."""
        ruling = super().close(attempt)
        return replace(ruling, verdict=Verdict.UNKNOWN) if ruling.verdict is Verdict.PAID else ruling


class AmountIsForgotten(AlipayGateway):
    """Reports the money without its amount."""

    def close(self, attempt: Attempt) -> Ruling:
        """Return the ruling without the amount."""
        return replace(super().close(attempt), amount=None)


class ProviderReferenceIsForgotten(AlipayGateway):
    """Reports the money without Alipay's number."""

    def close(self, attempt: Attempt) -> Ruling:
        """Return the ruling without the number."""
        return replace(super().close(attempt), provider_reference="")


class NothingIsClosedTwice(AlipayGateway):
    """Fails when a call is repeated."""

    def close(self, attempt: Attempt) -> Ruling:
        """Raise for a trade that was closed before."""
        trade = self.query(attempt.reference)
        if trade is not None and trade.status.verdict is Verdict.CLOSED:
            raise RuntimeError("closed before")
        return super().close(attempt)


class Impatient(AlipayGateway):
    """Has a time-out of its own that is shorter than the one in its settings."""

    def __init__(self, settings: AlipaySettings) -> None:
        super().__init__(settings)
        self._client.http.timeout = 0.05


WRONG: list[tuple[type[AlipayGateway], set[Fault], set[str]]] = [
    (SilenceIsClosed, {Fault.ERROR}, {"test_no_answer_hides_no_money", "test_no_answer_closes_nothing"}),
    (UnknownTradeIsClosed, set(), {"test_a_link_that_can_be_paid_is_not_closed"}),
    (UnknownTradeIsNeverClosed, set(), {"test_an_unopened_link_that_ended_is_closed"}),
    (PaidIsClosed, set(), {"test_money_that_came_first_is_found", "test_money_is_found_each_time"}),
    (PaidIsSwallowed, set(), {"test_money_that_came_first_is_found", "test_each_attempt_has_its_own_verdict"}),
    (AmountIsForgotten, set(), {"test_money_that_came_first_is_found"}),
    (ProviderReferenceIsForgotten, set(), {"test_money_that_came_first_is_found"}),
    (NothingIsClosedTwice, set(), {"test_closing_again_says_closed"}),
    (Impatient, {Fault.SLOW}, {"test_a_slow_answer_is_an_answer"}),
]


@pytest.mark.parametrize(("kind", "faults", "expected"), WRONG, ids=[kind.__name__ for kind, _, _ in WRONG])
def test_the_suite_fails_for_a_wrong_gateway(
    simulator: Opened, kind: type[AlipayGateway], faults: set[Fault], expected: set[str]
) -> None:
    """Each of the mistakes is found by the tests that name it."""
    assert expected <= failing(simulator, kind, faults)


def test_the_suite_fails_for_an_unbounded_gateway(simulator: Opened) -> None:
    """A gateway that waits for longer than its bound is found, although its verdict is right in the end."""
    _, _, settings = simulator
    with AlipayProvider(*simulator, AlipayGateway) as provider:
        provider.bound = settings.timeout / 8  # shorter than the slow answer
        with pytest.raises(AssertionError, match="must end within"):
            GatewayConformance().test_a_slow_answer_is_an_answer(provider)


def test_the_suite_fails_for_a_gateway_that_believes_a_forged_answer(
    simulator: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the check of the signature, the forged answer decides."""
    monkeypatch.setattr("lapse.gateways.alipay.signers.is_signed", lambda *_: True)
    assert failing(simulator, AlipayGateway, {Fault.FORGED}) == {
        "test_no_answer_hides_no_money",
        "test_no_answer_closes_nothing",
    }


def failing(simulator: Opened, kind: type[AlipayGateway], faults: set[Fault]) -> set[str]:
    """Run the suite against the gateway with these faults only; return the names of the tests that fail."""
    failed = set()
    with AlipayProvider(*simulator, kind) as provider:
        provider.faults = frozenset(faults)
        for name, test in inspect.getmembers(GatewayConformance, inspect.isfunction):
            for arguments in cases(test) if name.startswith("test_") else []:
                try:
                    test(GatewayConformance(), provider, **arguments)
                except AssertionError:
                    failed.add(name)
                    provider.recover()
    return failed


def cases(test: Callable[..., None]) -> list[dict[str, Any]]:
    """Return the arguments of each case of a test of the suite, which pytest would make of its marks."""
    marks = [mark.args for mark in getattr(test, "pytestmark", [])]
    return [dict(case) for case in itertools.product(*([(name, value) for value in values] for name, values in marks))]
