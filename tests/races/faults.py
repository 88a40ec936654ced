"""The faults of a gateway, put between a shop and any gateway: no answer, an answer too late, no clear answer."""

import threading
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from lapse.orders import Attempt, Gateway, Refund, RefundState, Ruling, Verdict
from tests.races.processes import PROCESS, Process, step

A = TypeVar("A")

LONGEST = 60.0
"""Seconds after which a call that hangs goes on, so that a failed test ends."""


class Fault(StrEnum):
    """What happens to each call."""

    NONE = "none"
    REFUSED = "refused"
    """The call does not reach the provider."""
    LOST = "lost"
    """The call takes effect, and its answer is lost."""
    UNCLEAR = "unclear"
    """The call takes effect, and its answer decides nothing."""
    HANGS = "hangs"
    """The call takes effect, and its answer comes when the test lets it come."""


class FaultyGateway:
    """A gateway with the fault that `fault` names. Each call is two steps of the process: before it and after it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.fault = Fault.NONE
        self.hanging = Counter[Process | None]()
        """How many calls of each process wait for their answers."""
        self._answers = threading.Event()

    def release(self) -> None:
        """Let the answers come that hang."""
        self._answers.set()
        self._answers = threading.Event()

    def query(self, attempt: Attempt) -> Ruling:
        """Return the gateway's verdict, after the fault."""
        return self._call(lambda: self.gateway.query(attempt), Ruling(attempt, Verdict.UNKNOWN))

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt, with the fault."""
        return self._call(lambda: self.gateway.close(attempt), Ruling(attempt, Verdict.UNKNOWN))

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Refund, with the fault."""
        return self._call(lambda: self.gateway.refund(attempt, amount), Refund(attempt, RefundState.UNKNOWN))

    def refund_status(self, attempt: Attempt) -> Refund:
        """Return the state of the refund, after the fault."""
        return self._call(lambda: self.gateway.refund_status(attempt), Refund(attempt, RefundState.UNKNOWN))

    def _call(self, call: Callable[[], A], unclear: A) -> A:
        step()
        if self.fault is Fault.REFUSED:
            raise TimeoutError("the provider was not reached")
        fault, answers = self.fault, self._answers
        answer = call()
        step()
        if fault is Fault.LOST:
            raise TimeoutError("the provider's answer was lost")
        if fault is Fault.HANGS:
            process = PROCESS.get()
            self.hanging[process] += 1
            answers.wait(LONGEST)
            self.hanging[process] -= 1
            step()
        return unclear if fault is Fault.UNCLEAR else answer
