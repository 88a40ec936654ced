"""The Django application: put `lapse.integrations.django` into INSTALLED_APPS."""

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import setting_changed

from lapse.integrations.django.checks import check_setup
from lapse.integrations.django.settings import forget


class LapseConfig(AppConfig):
    """It has no models of its own: the orders are the shop's."""

    name = "lapse.integrations.django"
    label = "lapse"
    verbose_name = "Lapse"

    def ready(self) -> None:
        """Check the set-up whenever Django checks; follow a test that overrides the settings."""
        register(check_setup)
        setting_changed.connect(forget, dispatch_uid="lapse")
