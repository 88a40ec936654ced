"""Who may see and do what in the console and in the admin: the merchants, their permissions and the way in."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.cache import never_cache

from shop.buyers.changing import remember_not_done

MERCHANTS = "Merchants"

VIEW_STATISTICS = "figures.view_tally"
VIEW_ORDERS = "orders.view_order"
CANCEL_ORDERS = "console.cancel_orders"
EXTEND_ORDERS = "console.extend_orders"
VIEW_STOCK = "catalogue.view_product"
RESTOCK = "console.add_restock"
REVIVE = "console.revive_deadlines"
VIEW_PAYMENTS = "payments.view_paymentattempt"
SETTLE_MONEY = "console.settle_money"
VIEW_MESSAGES = "lapse_outbox.view_delivery"
SEND_MESSAGES = "lapse_outbox.send_again"

GRANTED = (
    VIEW_STATISTICS,
    VIEW_ORDERS,
    CANCEL_ORDERS,
    EXTEND_ORDERS,
    VIEW_STOCK,
    RESTOCK,
    REVIVE,
    VIEW_PAYMENTS,
    SETTLE_MONEY,
    VIEW_MESSAGES,
    SEND_MESSAGES,
    "catalogue.change_product",
    "console.view_restock",
    "console.view_workerheartbeat",
    "payments.view_gatewaymessage",
)
"""The permissions of the group, as `app.codename`. The shop needs no superuser; `createsuperuser` makes one."""

View = Callable[..., HttpResponse]


def ensure_merchants() -> Group:
    """Create the group, or add the permissions that it lacks, and return it. Other permissions stay."""
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


def staff_with(*permissions: str) -> Callable[[View], View]:
    """Return a decorator that admits staff with all of these permissions.

    A visitor who is not signed in is redirected to the sign-in: before a view that changes something, by `changes`.
    Other users get a 403.
    """

    def around(view: View) -> View:
        @login_required
        @never_cache
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ANN401  # the view's own
            user = request.user
            if not (user.is_staff and user.has_perms(permissions)):
                raise PermissionDenied(gettext("This page is for the merchant."))
            return view(request, *args, **kwargs)

        return guarded

    return around


def merchant_of(request: HttpRequest) -> User:
    """Return the user of a page that `staff_with` guards."""
    if not isinstance(request.user, User):
        raise TypeError("this page is for users who have signed in")
    return request.user


class ShopAdminSite(AdminSite):
    """Django's admin behind the shop's own sign-in: one sign-in page, and one limit on attempts."""

    site_title = site_header = gettext_lazy("Kiln & Leaf, administration")
    index_title = gettext_lazy("Records")

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may enter. The sign-in says that what a visitor sent was not done."""
        if request.method == "POST" and not request.user.is_authenticated:
            remember_not_done(request)
        return super().has_permission(request)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Return a redirect to the shop's sign-in. Raises PermissionDenied for signed-in users who may not enter."""
        del extra_context
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied("The administration is for the shop's staff.")
        return redirect_to_login(request.GET.get("next", request.get_full_path()))
