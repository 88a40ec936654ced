"""The signature of calls from outside, by the Standard Webhooks specification."""

import binascii

from django.conf import settings
from django.http import HttpRequest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def signed(request: HttpRequest) -> bool:
    """Whether the body was signed with the shop's secret within the last five minutes. Never, without a secret."""
    if not settings.LAPSE_WEBHOOK_SECRET:
        return False
    try:
        Webhook(settings.LAPSE_WEBHOOK_SECRET).verify(request.body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError, binascii.Error):
        # The library lets a garbled signature or a body that is not text out as a ValueError.
        return False
    return True
