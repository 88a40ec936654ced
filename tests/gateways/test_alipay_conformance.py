"""The Alipay gateway passes the gateway suite; and the suite fails for gateways that are wrong on purpose."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lapse.gateways.alipay import AlipayGateway, AlipaySettings
from lapse.testing.alipay import AlipaySimulator, Authority, KeyPair
from lapse.testing.clock import ManualClock
from lapse.testing.gateway_conformance import Fault, GatewayConformance, Provider
from tests.gateways.alipay_provider import AlipayProvider, alipay_simulator
from tests.gateways.wrong_gateways import WRONG

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


@pytest.mark.parametrize(("kind", "faults", "expected"), WRONG, ids=[kind.__name__ for kind, _, _ in WRONG])
def test_the_suite_fails_for_a_wrong_gateway(
    simulator: Opened, kind: type[AlipayGateway], faults: set[Fault], expected: set[str]
) -> None:
    """Each of the mistakes is found by the tests that name it."""
    assert failing(simulator, kind, faults, expected) == expected


def test_each_test_of_the_suite_is_seen_to_fail() -> None:
    """A test that no wrong gateway fails would hold nothing."""
    suite = {name for name, _ in inspect.getmembers(GatewayConformance, inspect.isfunction) if name.startswith("test_")}
    assert suite == set().union(*(expected for _, _, expected in WRONG))


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
    believing = {
        "test_no_answer_hides_no_money",
        "test_no_answer_closes_nothing",
        "test_no_answer_to_a_query_says_nothing",
        "test_a_refund_without_an_answer_is_carried_out_once",
    }
    assert failing(simulator, AlipayGateway, {Fault.FORGED}, believing) == believing


def failing(simulator: Opened, kind: type[AlipayGateway], faults: set[Fault], names: set[str]) -> set[str]:
    """Run these tests of the suite against the gateway, with these faults only; return the names of those that fail."""
    failed = set()
    with AlipayProvider(*simulator, kind) as provider:
        provider.faults = frozenset(faults)
        for name in names:
            test = getattr(GatewayConformance, name)
            for arguments in cases(test):
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
