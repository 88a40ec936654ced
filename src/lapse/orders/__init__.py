"""Lapsing orders: the shop's declarations, the framework's rows, and the services that lapse the orders."""

from lapse.orders.arm_again import arm_unpaid
from lapse.orders.gateway import Attempt, ClosingGateway, Gateway, Refund, RefundState, Ruling, Verdict
from lapse.orders.hold import NotUnpaid
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Begun, Orders, Outcome, Result
from lapse.orders.rows import Rows, Which
from lapse.orders.service import Service, ServiceOptions
from lapse.orders.shop import OrderBatch, Shop
from lapse.orders.since import Since
from lapse.orders.sweep import Sweep, Swept
from lapse.orders.transition import EXPIRED, TIMER, Cause, Transition, WrongTransition

__all__ = [
    "EXPIRED",
    "TIMER",
    "Attempt",
    "Begun",
    "Cause",
    "ClosingGateway",
    "Gateway",
    "Lapsing",
    "NotUnpaid",
    "OrderBatch",
    "Orders",
    "Outcome",
    "Refund",
    "RefundState",
    "Result",
    "Rows",
    "Ruling",
    "Service",
    "ServiceOptions",
    "Shop",
    "Since",
    "Sweep",
    "Swept",
    "Transition",
    "Verdict",
    "Which",
    "WrongTransition",
    "arm_unpaid",
]
