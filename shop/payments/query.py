"""The question to a gateway whether one attempt was paid, in any state of the attempt and of its order."""

import logging

from lapse.integrations.django import unpaid_orders
from lapse.orders import Attempt, Verdict
from shop.payments.gateways import GATEWAYS
from shop.payments.models import PaymentAttempt

log = logging.getLogger("shop.payments")


def query_attempt(attempt: PaymentAttempt) -> Verdict:
    """Ask the attempt's gateway about money, and book the money; return the verdict.

    Other verdicts change nothing here: lapsing and the reconciler ask again, and count their own questions. Not to be
    called in a transaction: the answer may take seconds, or never come.
    """
    gateway = GATEWAYS[attempt.gateway]
    ruling = gateway.query(Attempt(attempt.order.public_id, attempt.reference, attempt.gateway))
    if ruling.verdict in (Verdict.PAID, Verdict.REFUNDED):
        unpaid_orders().receive(ruling)
    return ruling.verdict
