"""Signed HTTP deliveries, by the Standard Webhooks specification.

A Sender sends one message to one address and returns the outcome; it does not use timers. A Webhook is a worker's
handler that sends one message for each claim.
"""

from lapse.delivering.accept import Accept
from lapse.delivering.address import checked_address
from lapse.delivering.body import Body
from lapse.delivering.sender import Answer, Message, NoAnswer, Outcome, Sender
from lapse.delivering.signing import Signer
from lapse.delivering.webhook import Webhook

__all__ = [
    "Accept",
    "Answer",
    "Body",
    "Message",
    "NoAnswer",
    "Outcome",
    "Sender",
    "Signer",
    "Webhook",
    "checked_address",
]
