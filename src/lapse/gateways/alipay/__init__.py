"""Alipay: one app's gateway, its settings, and the messages that a shop reads.

A shop imports from here; the modules of this package are internal.
"""

from lapse.gateways.alipay.gateway import AlipayGateway
from lapse.gateways.alipay.keys import read_key_file
from lapse.gateways.alipay.messages import (
    AlipayError,
    AlipayRefused,
    AlipayUnavailable,
    Flaw,
    MessageRefused,
    Notification,
    Returned,
)
from lapse.gateways.alipay.settings import AlipaySettings
from lapse.gateways.alipay.trades import Trade, TradeStatus

__all__ = [
    "AlipayError",
    "AlipayGateway",
    "AlipayRefused",
    "AlipaySettings",
    "AlipayUnavailable",
    "Flaw",
    "MessageRefused",
    "Notification",
    "Returned",
    "Trade",
    "TradeStatus",
    "read_key_file",
]
