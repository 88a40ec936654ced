"""The group of those who run the shop, and what it may do."""

from django.contrib.auth.models import Group, Permission, User
from django.db.models import Q

MERCHANTS = "Merchants"

VIEW_FIGURES = "figures.view_tally"
VIEW_ORDERS = "orders.view_order"
CANCEL_ORDERS = "console.cancel_orders"
VIEW_STOCK = "catalogue.view_product"
RESTOCK = "console.add_restock"
REVIVE = "console.revive_deadlines"

GRANTED = (
    VIEW_FIGURES,
    VIEW_ORDERS,
    CANCEL_ORDERS,
    VIEW_STOCK,
    RESTOCK,
    REVIVE,
    "catalogue.change_product",
    "console.view_restock",
    "console.view_workerpulse",
    "payments.view_paymentattempt",
    "payments.view_gatewaymessage",
)
"""The permissions of the group, `app.codename`. No superuser is needed; `createsuperuser` makes one to give roles."""


def ensure_merchants() -> Group:
    """Make the group, or give it the permissions that it lacks; those that somebody added stay."""
    group, _ = Group.objects.get_or_create(name=MERCHANTS)
    wanted = Q(pk__in=[])
    for permission in GRANTED:
        app, _, codename = permission.partition(".")
        wanted |= Q(content_type__app_label=app, codename=codename)
    group.permissions.add(*Permission.objects.filter(wanted))
    return group


def make_merchant(user: User) -> None:
    """Let this user run the shop."""
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    user.groups.add(ensure_merchants())
