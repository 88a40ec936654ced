"""Mails: the shop's function makes them, and Django's mail backend sends them."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

from django.core.mail import EmailMessage
from django.utils.module_loading import import_string

from lapse.engine.errors import ConfigError
from lapse.engine.visible import one_line
from lapse.integrations.django.outbox.channel import Tried

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapse.integrations.django.outbox.message import Message
    from lapse.integrations.django.outbox.settings import MailEndpoint

    MailFunction = Callable[[Message], EmailMessage | None]


class MailChannel:
    """Sends the mails that the shop's function makes, by the mail backend of Django's settings.

    The header Message-ID is made of the message's id, so a mail that is sent twice has the same in both.
    """

    def __init__(self, endpoint: MailEndpoint) -> None:
        try:
            self._make: MailFunction = import_string(endpoint.function)
        except ImportError as error:
            raise ConfigError(
                f"LAPSE_OUTBOX: 'mail' names {endpoint.function!r}, which cannot be imported: {error}"
            ) from error
        if not callable(self._make):
            raise ConfigError(f"LAPSE_OUTBOX: 'mail' names {endpoint.function!r}, which is not a function")

    def deliver(self, message: Message) -> Tried:
        """Return the result of sending this message's mail, if the shop's function makes one."""
        mail = self._make(message)
        if mail is None:
            return Tried(delivered=True, answer="no mail for this message")
        if not isinstance(mail, EmailMessage):
            raise TypeError(f"the function of 'mail' must return an EmailMessage or None; got {type(mail).__name__}")
        domain = mail.from_email.rpartition("@")[2].strip(" >") or "localhost"
        mail.extra_headers.setdefault("Message-ID", f"<{message.id}@{domain}>")
        try:
            sent = mail.send()
        except (OSError, smtplib.SMTPException) as error:
            return Tried(delivered=False, answer=one_line(f"{type(error).__name__}: {error}"))
        answer = f"sent to {', '.join(mail.recipients())}" if sent else "the mail has no recipient, or was not accepted"
        return Tried(delivered=bool(sent), answer=answer)

    def close(self) -> None:
        """Do nothing: each mail has its own connection."""
