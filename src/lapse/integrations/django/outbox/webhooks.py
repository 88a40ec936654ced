"""Webhooks: signed POST requests by the Standard Webhooks specification."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from lapse.delivering import Answer, NoAnswer, Sender, Signer
from lapse.delivering import Message as HttpMessage
from lapse.delivering.accept import beginning
from lapse.delivering.body import as_json
from lapse.engine.errors import ConfigError
from lapse.integrations.django.outbox.channel import Tried
from lapse.integrations.django.outbox.message import timestamp_of

if TYPE_CHECKING:
    from lapse.integrations.django.outbox.message import Message
    from lapse.integrations.django.outbox.settings import WebhookEndpoint

GONE = "the receiver wants no more messages: remove the address from LAPSE_OUTBOX, or let it accept calls again"


class WebhookChannel:
    """Sends messages to one address. Each 2xx means that the message was received; all else is tried again."""

    def __init__(self, endpoint: WebhookEndpoint) -> None:
        try:
            signer = Signer(endpoint.secrets)
            self._sender = Sender(
                endpoint.url, signer=signer, timeout=endpoint.timeout, insecure_http=endpoint.insecure_http
            )
        except ConfigError as error:
            raise ConfigError(f"LAPSE_OUTBOX: {endpoint.name}: {error}") from error

    def deliver(self, message: Message) -> Tried:
        """Return the result of one call. The body is the same in each call; the signature has the call's time."""
        content = {"type": message.type, "timestamp": timestamp_of(message.timestamp), "data": message.data}
        outcome = self._sender.send(HttpMessage(message.id, as_json(content)))
        if isinstance(outcome, NoAnswer):
            return Tried(delivered=False, answer=str(outcome))
        said = "" if outcome.success else _advice(outcome)
        answer = f"{outcome}: {said}" if said else str(outcome)
        return Tried(outcome.success, answer, outcome.retry_after if outcome.overloaded else None)

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()


def _advice(outcome: Answer) -> str:
    """Return what to do about an answer that accepts no message, or else the beginning of what it says."""
    if outcome.redirect:
        return "redirects are not followed, so use the final address"
    if outcome.status == HTTPStatus.GONE:
        return GONE
    said = beginning(outcome.body)
    return f"it answered {said}" if said else ""
