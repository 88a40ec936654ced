"""The money machine with a provider that answers wrongly about single trades, as Alipay may and its simulator can."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from lapse.orders import LateMoney
from tests.races.money_machine import WHICH, money_machine

CALLS = ["query", "close"]
FAULTS: dict[str, dict[str, Any]] = {
    "does not exist": {"not_exist": CALLS},
    "system error": {"system_error": [*CALLS, "refund", "fastpay.refund.query"]},
    "closed before the scan": {"close_blocks": True},
    "forged": {"forge": True},
    "cut": {"answers": "half"},
    "GBK": {"charset": "gbk"},
}
"""What the next answers about one trade are like."""


def alipay_machine(open_world: Callable[[LateMoney], Any]) -> type[RuleBasedStateMachine]:
    """Return the state machine class for a world that has the `simulator`."""
    machine: Any = money_machine(open_world)

    class AlipayMachine(machine):  # type: ignore[misc]  # the class is made by a function
        @rule(order=Bundle("orders"), which=WHICH, fault=st.sampled_from(sorted(FAULTS)), times=st.integers(1, 2))
        def alipay_is_wrong(self, order: Any, which: int, fault: str, times: int) -> None:
            """Let the next answers about one of the order's links be wrong."""
            for link in self.links[order][which:][:1]:
                self.world.simulator.faults(link, **FAULTS[fault], times=times)

    return AlipayMachine
