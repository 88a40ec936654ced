"""The Django application: put `lapse.integrations.django` into INSTALLED_APPS."""

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.core.signals import setting_changed

from lapse.integrations.django.checks.rehearsal import check_rehearsal
from lapse.integrations.django.checks.setup import check_setup
from lapse.integrations.django.outbox.checks import check_outbox
from lapse.integrations.django.settings import forget


class LapseConfig(AppConfig):
    """The application has one model, for the deadlines of shops without a column. The order model is the shop's."""

    name = "lapse.integrations.django"
    label = "lapse"
    verbose_name = "Lapse"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks of the set-up. When a test overrides the settings, drop the orders and the timer."""
        register(check_setup)
        register(check_rehearsal, Tags.database)
        register(check_outbox)  # also here: the outbox's own app may be missing
        setting_changed.connect(forget, dispatch_uid="lapse")
