"""Lapsing orders: the shop's declarations, the framework's rows, and the services that lapse the orders."""

from lapse.orders.arm_again import arm_unpaid
from lapse.orders.calls import GatewayCalls
from lapse.orders.cause import EXPIRED, TIMER, Cause, WrongTransition
from lapse.orders.closing import Closing
from lapse.orders.extending import Extended, Extending
from lapse.orders.gateway import Attempt, ClosingGateway, Gateway, Refund, RefundState, Ruling, Verdict
from lapse.orders.hold import NotUnpaid
from lapse.orders.lapsing import Lapsing
from lapse.orders.late_money import AttemptState, LateMoney, Record
from lapse.orders.money import Attempts, Money, Question, Settled, UnknownAttempt
from lapse.orders.port import Begun, Orders, Outcome, Result
from lapse.orders.reconciling import Reconciler
from lapse.orders.reminding import Reminding, reminders_of
from lapse.orders.reviving import Revived, Reviving
from lapse.orders.rows import Rows, Which
from lapse.orders.service import Service
from lapse.orders.service_options import ServiceOptions
from lapse.orders.shop import OrderBatch, Shop
from lapse.orders.since import Since
from lapse.orders.sweep import Sweep, Swept
from lapse.orders.transition import Transition

__all__ = [
    "EXPIRED",
    "TIMER",
    "Attempt",
    "AttemptState",
    "Attempts",
    "Begun",
    "Cause",
    "Closing",
    "ClosingGateway",
    "Extended",
    "Extending",
    "Gateway",
    "GatewayCalls",
    "Lapsing",
    "LateMoney",
    "Money",
    "NotUnpaid",
    "OrderBatch",
    "Orders",
    "Outcome",
    "Question",
    "Reconciler",
    "Record",
    "Refund",
    "RefundState",
    "Reminding",
    "Result",
    "Revived",
    "Reviving",
    "Rows",
    "Ruling",
    "Service",
    "ServiceOptions",
    "Settled",
    "Shop",
    "Since",
    "Sweep",
    "Swept",
    "Transition",
    "UnknownAttempt",
    "Verdict",
    "Which",
    "WrongTransition",
    "arm_unpaid",
    "reminders_of",
]
