"""Alipay as the gateway suite needs it: the simulator over HTTP, a clock that the test sets, and every fault."""

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Self

from lapse.gateways.alipay import AlipayGateway, AlipaySettings
from lapse.orders import Attempt
from lapse.testing.alipay import AlipaySimulator, Authority, Buyer, KeyPair
from lapse.testing.clock import ManualClock
from lapse.testing.gateway_conformance import Fault, Provider

LASTS = timedelta(minutes=10)
CALLS = [f"alipay.trade.{name}" for name in ("close", "query", "refund", "fastpay.refund.query")]
RECOVERED = {"system_error": [], "hanging": [], "forge": False, "answers": "right"}
SUBJECT = "茶杯"
REFERENCES = (f"c{number}" for number in itertools.count())


class AlipayProvider(Provider):
    """One simulator and one gateway; the suite's tests may share the simulator, since each has attempts of its own."""

    amount = Decimal("58.00")
    bound = timedelta(seconds=20)
    reports_refunds = False  # Alipay's query has no amount refunded; its notify has

    def __init__(
        self,
        simulator: AlipaySimulator,
        clock: ManualClock,
        settings: AlipaySettings,
        kind: type[AlipayGateway],
        charset: str = "utf-8",
    ) -> None:
        self._simulator = simulator
        self._clock = clock
        self._settings = settings
        self._ends: dict[str, datetime] = {}
        self._opened: dict[str, Buyer] = {}
        self._real = kind(settings)
        self._without_server = kind(replace(settings, gateway_url=f"http://127.0.0.1:{unused_port()}/"))
        self.gateway = self._real
        simulator.faults(**RECOVERED, notify="drop", charset=charset)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.recover()
        self._real.__exit__()
        self._without_server.__exit__()

    def begin(self) -> Attempt:
        """Return a new attempt; the link is made when the buyer opens it."""
        attempt = Attempt("order", next(REFERENCES), "alipay", LASTS)
        self._ends[attempt.reference] = self._clock.now() + LASTS
        return attempt

    def open(self, attempt: Attempt) -> None:
        """Follow the link and scan its code."""
        link = self._real.page_pay_url(attempt.reference, self.amount, SUBJECT, self._ends[attempt.reference])
        self._opened[attempt.reference] = buyer = Buyer(link)
        buyer.scan()

    def pay(self, attempt: Attempt) -> bool:
        """Press the button that pays."""
        if attempt.reference not in self._opened:
            self.open(attempt)
        return self._opened[attempt.reference].pay() is not None

    def expire(self, attempt: Attempt) -> Attempt:
        """Move the simulator's clock past the link's end and the margin."""
        past = self._settings.margin + timedelta(seconds=1)
        self._clock.advance(LASTS + past)
        return replace(attempt, expires_in=-past)

    def refund_elsewhere(self, attempt: Attempt, amount: Decimal) -> None:
        """Refund in the simulator's console."""
        self._simulator.refund(attempt.reference, amount)

    def refunded(self, attempt: Attempt) -> Decimal:
        """Read the simulator's book."""
        trade = self._simulator.trade(attempt.reference)
        return Decimal(trade["refunded"]) if trade else Decimal()

    def fail(self, fault: Fault) -> None:
        """Switch on the fault in the simulator, or take the server away."""
        match fault:
            case Fault.REFUSED:
                self.gateway = self._without_server
            case Fault.SILENT:
                self._simulator.faults(hanging=CALLS, hang=self.bound.total_seconds() * 3)
            case Fault.SLOW:
                self._simulator.faults(hanging=CALLS, hang=self._settings.timeout.total_seconds() / 4)
            case Fault.ERROR:
                self._simulator.faults(system_error=CALLS)
            case Fault.FORGED:
                self._simulator.faults(forge=True)
            case _:
                self._simulator.faults(answers=fault.value)

    def recover(self) -> None:
        """Switch every fault off."""
        self.gateway = self._real
        self._simulator.faults(**RECOVERED)


@contextmanager
def alipay_simulator(
    app: KeyPair, alipay: KeyPair, *, authority: Authority | None = None
) -> Iterator[tuple[AlipaySimulator, ManualClock, AlipaySettings]]:
    """Start a simulator whose clock the test sets; yield it with its clock and the settings of a gateway to it.

    With an authority, both sides use certificates.
    """
    clock = ManualClock(datetime.now(UTC))
    with AlipaySimulator(app.public, private_key=alipay.private, clock=clock, authority=authority) as simulator:
        settings = AlipaySettings(
            app_id=simulator.app_id,
            seller_id=simulator.seller_id,
            private_key=app.private,
            alipay_public_key="" if authority else simulator.public_key,
            **(simulator.certificates if authority else {}),
            gateway_url=simulator.gateway_url,
            notify_url="http://127.0.0.1:9/",
            return_url="http://shop.example/back/",
            timeout=timedelta(seconds=2),
        )
        yield simulator, clock, settings


def unused_port() -> int:
    """Return a port at which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
