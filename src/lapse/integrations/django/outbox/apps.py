"""The Django application: put `lapse.integrations.django.outbox` into INSTALLED_APPS."""

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import setting_changed

from lapse.integrations.django.outbox.checks import check_outbox
from lapse.integrations.django.outbox.settings import forget_settings


class OutboxConfig(AppConfig):
    """The application has one table, for the deliveries."""

    name = "lapse.integrations.django.outbox"
    label = "lapse_outbox"
    verbose_name = "Lapse outbox"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the check of LAPSE_OUTBOX. When a test overrides the setting, read it again."""
        register(check_outbox)
        setting_changed.connect(forget_settings, dispatch_uid="lapse_outbox")
