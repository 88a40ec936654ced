"""Lapsing orders: the port that a shop implements, and the one transition in which every path ends."""

from lapse.orders.gateway import Attempt, Gateway, Ruling, Verdict
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Begun, Orders, Outcome, Result
from lapse.orders.sweep import Sweep, Swept

__all__ = [
    "Attempt",
    "Begun",
    "Gateway",
    "Lapsing",
    "Orders",
    "Outcome",
    "Result",
    "Ruling",
    "Sweep",
    "Swept",
    "Verdict",
]
