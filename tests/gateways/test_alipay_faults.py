"""Each fault of the simulator does what its row in the table says, for our gateway and for python-alipay-sdk."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qsl

import pytest
from alipay import AliPay
from alipay.exceptions import AliPayValidationError

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.gateways.alipay import AlipayGateway, AlipaySettings, Flaw, MessageRefused
from lapse.orders import Attempt, RefundState, Verdict
from lapse.testing.alipay import FAULTS, AlipaySimulator, Buyer, KeyPair
from tests.gateways.listening import Listener, eventually

AMOUNT = Decimal("58.00")
NUMBERS = (f"fault{number}" for number in itertools.count())
LONG_OVER = -timedelta(minutes=1)
QUICK = timedelta(seconds=0.5)


@dataclass(frozen=True, slots=True)
class World:
    """A simulator, a shop's address for notifies, our gateway, one that waits half a second, and the other library."""

    alipay: AlipaySimulator
    shop: Listener
    gateway: AlipayGateway
    hasty: AlipayGateway
    other: AliPay

    def link(self, number: str, ends_in: float = 600) -> str:
        """Return a link."""
        return self.gateway.page_pay_url(number, AMOUNT, "茶杯", datetime.now(UTC) + timedelta(seconds=ends_in))

    def scanned(self, number: str) -> Buyer:
        """Scan a new link and return its buyer."""
        buyer = Buyer(self.link(number))
        assert buyer.scan()
        return buyer

    def paid(self, number: str) -> str:
        """Pay a new link and return its number."""
        assert self.scanned(number).pay()
        return number

    def received(self, number: str, count: int = 1) -> list[dict[str, str]]:
        """Wait until so many notifies of a trade came, and return all of them."""
        found: list[dict[str, str]] = []

        def enough() -> bool:
            found[:] = [form for form in self.shop.received if form["out_trade_no"] == number]
            return len(found) >= count

        assert eventually(enough), found
        return found

    def refusal(self, number: str) -> Flaw:
        """Return why our gateway refuses the notify of a trade."""
        self.received(number)
        body = next(body for body, _ in self.shop.bodies if f"out_trade_no={number}&" in body.decode())
        with pytest.raises(MessageRefused) as refused:
            self.gateway.read_notify(body)
        return refused.value.flaw

    def other_believes(self, number: str) -> bool:
        """Return whether the other library verifies the notify of a trade."""
        form = dict(self.received(number)[0])
        signature = form.pop("sign")
        return bool(self.other.verify(form, signature))

    def status(self, number: str) -> str:
        """Return the status of the trade in the simulator's book."""
        trade = self.alipay.trade(number)
        return str(trade["trade_status"]) if trade else "none"


@pytest.fixture(scope="module")
def opened(app_keys: KeyPair, alipays_keys: KeyPair) -> Iterator[World]:
    """Open one world for all faults; each test has numbers of its own."""
    with pytest.MonkeyPatch.context() as patch, Listener() as shop:
        patch.setenv("no_proxy", "127.0.0.1")
        with AlipaySimulator(app_keys.public, private_key=alipays_keys.private) as alipay:
            settings = AlipaySettings(
                app_id=alipay.app_id,
                seller_id=alipay.seller_id,
                private_key=app_keys.private,
                alipay_public_key=alipay.public_key,
                gateway_url=alipay.gateway_url,
                notify_url=shop.url,
                return_url="http://shop.example/back/",
            )
            other = AliPay(
                appid=alipay.app_id,
                app_notify_url=shop.url,
                app_private_key_string=app_keys.private,
                alipay_public_key_string=alipay.public_key,
            )
            other._gateway = alipay.gateway_url
            with AlipayGateway(settings) as gateway, AlipayGateway(replace(settings, timeout=QUICK)) as hasty:
                yield World(alipay, shop, gateway, hasty, other)


@pytest.fixture
def world(opened: World) -> Iterator[World]:
    """Switch every fault off, before and afterwards."""
    opened.alipay.reset()
    yield opened
    opened.alipay.reset()


@pytest.fixture
def number() -> str:
    """Return a number that no other test has."""
    return next(NUMBERS)


def attempt(number: str) -> Attempt:
    """Return an attempt whose link is long over."""
    return Attempt("order", number, "alipay", LONG_OVER)


def test_each_fault_has_its_test() -> None:
    """A new row of the table needs a test here."""
    tested = {name for name in FAULTS for test in globals() if test.startswith(f"test_the_fault_{name}__")}
    elsewhere = {
        "notify_delay": test_the_fault_notify__delay,
        "unavailable": test_the_fault_system_error__and_unavailable,
        "hang": test_the_fault_hanging__answers_at_last,
        "unnamed": "tests/gateways/test_alipay_certificates.py: it needs certificates",
    }
    assert tested | elsewhere.keys() == FAULTS.keys()


# --- notifies ---


def test_the_fault_notify__drop(world: World, number: str) -> None:
    """The first notify never comes; the one about the refund does."""
    world.alipay.faults(number, notify="drop", times=1)
    world.paid(number)
    assert (world.alipay.trade(number) or {})["notifies"] == []
    world.alipay.refund(number)
    assert [form["trade_status"] for form in world.received(number)] == ["TRADE_CLOSED"]


def test_the_fault_notify__double(world: World, number: str) -> None:
    """The same notify comes twice."""
    world.alipay.faults(number, notify="double")
    world.paid(number)
    first, second = world.received(number, 2)
    assert first == second


def test_the_fault_notify__delay(world: World, number: str) -> None:
    """The notify comes later by the delay."""
    begun = SYSTEM_CLOCK.monotonic()
    world.alipay.faults(number, notify="delay", notify_delay=0.3)
    world.paid(number)
    world.received(number)
    assert SYSTEM_CLOCK.monotonic() - begun >= 0.3


def test_the_fault_notify__reorder(world: World, number: str) -> None:
    """The payment's notify comes once the refund's was answered, which is sent again until the shop takes it."""
    world.alipay.faults(number, notify="reorder")
    world.paid(number)
    assert world.shop.received == [] or number not in {form["out_trade_no"] for form in world.shop.received}
    world.alipay.refund(number)
    assert [form["trade_status"] for form in world.received(number, 2)] == ["TRADE_CLOSED", "TRADE_SUCCESS"]


def test_the_fault_notify__reorder_ends_with_the_fault(world: World) -> None:
    """A notify that waits for the next one is sent when its fault is changed, or when all faults are switched off."""
    for end in ("change", "reset"):
        number = next(NUMBERS)
        world.alipay.faults(number, notify="reorder", times=1)
        world.paid(number)
        if end == "change":
            world.alipay.faults(number, notify=None)
        else:
            world.alipay.reset()
        assert world.received(number)[0]["trade_status"] == "TRADE_SUCCESS"


def test_the_fault_notify_amount__in_notify_and_query(world: World, number: str) -> None:
    """Both report the wrong amount, with a right signature, so that only a comparison finds it."""
    world.alipay.faults(number, notify_amount="0.01")
    world.paid(number)
    assert world.received(number)[0]["total_amount"] == "0.01"
    assert world.other_believes(number)
    assert world.gateway.query(attempt(number)).amount == Decimal("0.01")
    assert world.other.api_alipay_trade_query(out_trade_no=number)["total_amount"] == "0.01"
    world.alipay.reset(number)
    assert world.gateway.query(attempt(number)).amount == AMOUNT


def test_the_fault_notify_seller__is_refused(world: World, number: str) -> None:
    """The signature is right, so the other library, which looks at nothing else, believes the notify."""
    world.alipay.faults(number, notify_seller="2088000000000000")
    world.paid(number)
    assert world.refusal(number) == Flaw.SELLER
    assert world.other_believes(number)


def test_the_fault_notify_app__is_refused(world: World, number: str) -> None:
    """As with another seller."""
    world.alipay.faults(number, notify_app="2021000000000000")
    world.paid(number)
    assert world.refusal(number) == Flaw.APP
    assert world.other_believes(number)


def test_the_fault_notify_forged__is_refused(world: World, number: str) -> None:
    """Neither library believes the signature."""
    world.alipay.faults(number, notify_forged=True)
    world.paid(number)
    assert world.refusal(number) == Flaw.SIGNATURE
    assert not world.other_believes(number)


# --- the link ---


def test_the_fault_paid_at_once__before_the_page(world: World, number: str) -> None:
    """When the link's page opens, the shop has already answered the notify, and the trade is paid."""
    world.alipay.faults(number, paid_at_once=True)
    buyer = Buyer(world.link(number))
    assert [form["trade_status"] for form in world.shop.received if form["out_trade_no"] == number] == ["TRADE_SUCCESS"]
    assert world.status(number) == "TRADE_SUCCESS"
    assert buyer.pay() is None
    late = next(NUMBERS)
    world.alipay.faults(late, paid_at_once=True)
    assert not Buyer(world.link(late, ends_in=-1)).scan()


def test_the_fault_overtime__ignores_the_end(world: World, number: str) -> None:
    """One link can be scanned and paid after its end, and its neighbour cannot."""
    world.alipay.faults(number, overtime=True)
    late = Buyer(world.link(number, ends_in=-60))
    assert late.scan()
    assert late.pay()
    assert not Buyer(world.link(next(NUMBERS), ends_in=-60)).scan()


def test_the_fault_close_blocks__the_scan(world: World) -> None:
    """A close before the scan has one answer, whether the link can be paid afterwards or not."""
    for blocks, other in ((True, False), (False, False), (True, True)):
        number = next(NUMBERS)
        world.alipay.faults(number, close_blocks=blocks, times=1)
        buyer = Buyer(world.link(number))
        if other:
            assert world.other.api_alipay_trade_close(out_trade_no=number)["sub_code"] == "ACQ.TRADE_NOT_EXIST"
        else:
            assert world.gateway.close(replace(attempt(number), expires_in=None)).verdict == Verdict.ABSENT
        assert buyer.scan() is not blocks
        assert (buyer.pay() is not None) is not blocks


# --- calls that are not done, or answered late ---


def test_the_fault_not_exist__and_then_paid(world: World, number: str) -> None:
    """Close and query say once that there is no trade; the next call finds the money."""
    world.paid(number)
    world.alipay.faults(number, not_exist=["query", "close"], times=2)
    assert world.other.api_alipay_trade_query(out_trade_no=number)["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    assert world.gateway.close(replace(attempt(number), expires_in=None)).verdict == Verdict.ABSENT
    assert world.gateway.close(attempt(number)).verdict == Verdict.PAID


@pytest.mark.parametrize(("fault", "code"), [("system_error", "ACQ.SYSTEM_ERROR"), ("unavailable", "isp.unknow-error")])
def test_the_fault_system_error__and_unavailable(world: World, number: str, fault: str, code: str) -> None:
    """Each of the next calls is not done and concludes nothing; the one after them is done."""
    world.scanned(number)
    world.alipay.faults(number, **{fault: ["close"]}, times=2)
    assert world.other.api_alipay_trade_close(out_trade_no=number)["sub_code"] == code
    assert world.gateway.close(attempt(number)).verdict == Verdict.UNKNOWN
    assert world.status(number) == "WAIT_BUYER_PAY"
    assert world.gateway.close(attempt(number)).verdict == Verdict.CLOSED
    assert world.status(number) == "TRADE_CLOSED"


def test_the_fault_hanging__close_is_done(world: World, number: str) -> None:
    """The call that had no answer in time has closed the trade."""
    world.scanned(number)
    world.alipay.faults(number, hanging=["close"], hang=1, times=1)
    assert world.hasty.close(attempt(number)).verdict == Verdict.UNKNOWN
    assert world.status(number) == "TRADE_CLOSED"


def test_the_fault_hanging__refund_is_done(world: World, number: str) -> None:
    """The refund that had no answer in time has moved the money, and moves it once."""
    world.paid(number)
    world.alipay.faults(number, hanging=["refund"], hang=1, times=1)
    assert world.hasty.refund(attempt(number), AMOUNT).state == RefundState.UNKNOWN
    assert (world.alipay.trade(number) or {})["refunded"] == "58.00"
    assert world.gateway.refund(attempt(number), AMOUNT).state == RefundState.DONE
    assert (world.alipay.trade(number) or {})["refunded"] == "58.00"


def test_the_fault_hanging__answers_at_last(world: World, number: str) -> None:
    """A client that waits has the right answer after the seconds of `hang`."""
    world.paid(number)
    world.alipay.faults(number, hanging=["query"], hang=0.3)
    assert world.gateway.query(attempt(number)).verdict == Verdict.PAID
    begun = SYSTEM_CLOCK.monotonic()
    assert world.other.api_alipay_trade_query(out_trade_no=number)["trade_status"] == "TRADE_SUCCESS"
    assert SYSTEM_CLOCK.monotonic() - begun >= 0.3


@pytest.mark.parametrize(
    ("call", "then"), [("query", Verdict.OPEN), ("close", Verdict.CLOSED), ("refund", RefundState.DONE)]
)
def test_the_fault_hanging_undone__leaves_the_trade(
    world: World, number: str, call: str, then: Verdict | RefundState
) -> None:
    """Neither the call that has no answer in time, nor the one that has SYSTEM_ERROR at last, does anything."""

    def answer_to(gateway: AlipayGateway) -> Verdict | RefundState:
        if call == "refund":
            return gateway.refund(attempt(number), AMOUNT).state
        return (gateway.query if call == "query" else gateway.close)(attempt(number)).verdict

    if call == "refund":
        world.paid(number)
    else:
        world.scanned(number)
    before = world.status(number)
    world.alipay.faults(number, hanging_undone=[call], hang=1, times=1)
    assert answer_to(world.hasty) in (Verdict.UNKNOWN, RefundState.UNKNOWN)
    world.alipay.faults(number, hanging_undone=[call], hang=0.1, times=1)
    more = {"refund_amount": "58.00", "out_request_no": "r"} if call == "refund" else {}
    others = getattr(world.other, f"api_alipay_trade_{call}")
    assert others(out_trade_no=number, **more)["sub_code"] == "ACQ.SYSTEM_ERROR"
    assert world.status(number) == before
    assert answer_to(world.gateway) == then


def test_the_fault_refund_refused__by_its_code(world: World, number: str) -> None:
    """Both libraries see the code, and no money moves."""
    world.paid(number)
    world.alipay.faults(number, refund_refused="ACQ.TRADE_NOT_ALLOW_REFUND", times=2)
    assert "ACQ.TRADE_NOT_ALLOW_REFUND" in world.gateway.refund(attempt(number), AMOUNT).reason
    refused = world.other.api_alipay_trade_refund("58.00", out_trade_no=number, out_request_no="r")
    assert refused["sub_code"] == "ACQ.TRADE_NOT_ALLOW_REFUND"
    assert world.gateway.refund(attempt(number), AMOUNT).state == RefundState.DONE


# --- the form of messages ---


def test_the_fault_charset__of_answers_and_notifies(world: World, number: str) -> None:
    """Both come in GBK and are believed, Chinese text included."""
    world.alipay.faults(number, charset="gbk")
    world.paid(number)
    world.received(number)
    body, content_type = next(one for one in world.shop.bodies if f"out_trade_no={number}&" in one[0].decode())
    assert "gbk" in content_type
    assert dict(parse_qsl(body.decode(), encoding="gbk"))["subject"] == "茶杯"
    assert world.gateway.read_notify(body, content_type).raw["subject"] == "茶杯"
    assert world.gateway.query(attempt(number)).verdict == Verdict.PAID


def test_the_fault_forge__is_no_answer(world: World, number: str) -> None:
    """Neither library believes an answer that Alipay's key has not signed."""
    world.paid(number)
    world.alipay.faults(number, forge=True, times=2)
    with pytest.raises(AliPayValidationError):
        world.other.api_alipay_trade_query(out_trade_no=number)
    assert world.gateway.query(attempt(number)).verdict == Verdict.UNKNOWN
    assert world.gateway.query(attempt(number)).verdict == Verdict.PAID


@pytest.mark.parametrize("form", ["empty", "garbage", "half", "endless"])
def test_the_fault_answers__in_each_form(world: World, number: str, form: str) -> None:
    """The next answer has a form that concludes nothing; the one after it is right."""
    world.paid(number)
    world.alipay.faults(number, answers=form, times=1)
    assert world.hasty.query(attempt(number)).verdict == Verdict.UNKNOWN
    assert world.gateway.query(attempt(number)).verdict == Verdict.PAID
