"""System checks of LAPSE_OUTBOX: what no message could be delivered with is refused before the first message."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import router

from lapse.engine.errors import ConfigError
from lapse.integrations.django.outbox.channels import open_channel
from lapse.integrations.django.outbox.settings import MailEndpoint, outbox_settings
from lapse.integrations.django.settings import orders_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.apps.config import AppConfig

APP = "lapse.integrations.django.outbox"
SMTP = "django.core.mail.backends.smtp.EmailBackend"


def check_outbox(
    *, app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **_: object
) -> list[checks.CheckMessage]:
    """Check LAPSE_OUTBOX and what it names; return the faults. Contacts no database and no receiver."""
    del app_configs, databases
    try:
        declared = outbox_settings()
    except ConfigError as error:
        return [checks.Error(str(error), id="lapse_outbox.E001")]
    if not declared.endpoints:
        return []
    found: list[checks.CheckMessage] = []
    for endpoint in declared.endpoints:
        try:
            open_channel(endpoint).close()
        except ConfigError as error:
            found.append(checks.Error(str(error), id="lapse_outbox.E001"))
    if not apps.is_installed(APP):
        message = f"LAPSE_OUTBOX declares endpoints, but {APP!r} is not in INSTALLED_APPS, so there is no table."
        found.append(checks.Error(message, hint="Add it, and run manage.py migrate.", id="lapse_outbox.E002"))
    else:
        found += _check_database()
    if any(isinstance(endpoint, MailEndpoint) for endpoint in declared.endpoints):
        found += _check_mail()
    return found


def _check_database() -> Iterator[checks.CheckMessage]:
    try:
        orders: Any = orders_class().model
    except (ConfigError, AttributeError):  # reported by the checks of the orders, or a shop without them
        return
    messages = router.db_for_write(apps.get_model("lapse_outbox", "Delivery"))
    if messages != (using := router.db_for_write(orders)):
        yield checks.Error(
            f"The outbox is in the database {messages!r} and the orders are in {using!r}, so a message would be sent "
            "although its order's change was rolled back.",
            hint="Let the database router send the app lapse_outbox to the database of the orders.",
            id="lapse_outbox.E003",
        )


def _check_mail() -> Iterator[checks.CheckMessage]:
    mailers = getattr(settings, "MAILERS", None)  # from Django 6.1 on
    if mailers:
        default = mailers.get("default", {})
        backend, timeout = default.get("BACKEND"), default.get("OPTIONS", {}).get("timeout")
        advice = "Add 'timeout': 10 to the OPTIONS of MAILERS['default']."
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Django 6.1 deprecates both, and says so itself where mails are sent
            backend, timeout = settings.EMAIL_BACKEND, settings.EMAIL_TIMEOUT
        advice = "Set EMAIL_TIMEOUT = 10."
    if backend == SMTP and timeout is None:
        yield checks.Error(
            "Mails are sent without a time limit, so a mail server that does not answer would stop them for ever.",
            hint=advice,
            id="lapse_outbox.E004",
        )
