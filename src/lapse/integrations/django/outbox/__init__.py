"""The outbox: webhooks and mails that are written in the shop's transaction and delivered after its commit."""

from lapse.integrations.django.outbox.message import Message
from lapse.integrations.django.outbox.publishing import publish, publish_many

__all__ = ["Message", "publish", "publish_many"]
