"""The Django apps of the console and of the admin, which the console links to."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.utils.translation import gettext_lazy


class Console(AppConfig):
    """The app of the merchant's console."""

    name = "shop.console"
    label = "console"
    verbose_name = gettext_lazy("Console")
    default = True


class ShopAdmin(admin_apps.AdminConfig):
    """Django's admin with the shop's own sign-in."""

    default = False
    default_site = "shop.console.permissions.ShopAdminSite"
