"""Opens the channel of an endpoint: a signed POST request, or a mail."""

from lapse.engine.errors import ConfigError
from lapse.integrations.django.outbox.channel import Channel
from lapse.integrations.django.outbox.mails import MailChannel
from lapse.integrations.django.outbox.settings import Endpoint, MailEndpoint, WebhookEndpoint


def open_channel(endpoint: Endpoint) -> Channel:
    """Return the channel of an endpoint. Raises ConfigError if the endpoint's settings are wrong. Sends nothing."""
    match endpoint:
        case WebhookEndpoint():
            from lapse.integrations.django.outbox.webhooks import WebhookChannel  # noqa: PLC0415 - it needs an extra

            return WebhookChannel(endpoint)
        case MailEndpoint():
            return MailChannel(endpoint)
    raise ConfigError(f"LAPSE_OUTBOX: {endpoint.name} is no endpoint")
