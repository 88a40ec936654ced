"""Django's admin, entered by the shop's own sign-in: one door, one limit on tries."""

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy


class ShopAdminSite(AdminSite):
    """The admin of the shop. The console is where the daily work is done."""

    site_title = site_header = gettext_lazy("Kiln & Leaf, administration")
    index_title = gettext_lazy("Records")

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Lead to the shop's sign-in. Raises PermissionDenied for those who are signed in and still may not enter."""
        del extra_context
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied("The administration is for the shop's staff.")
        return redirect_to_login(request.GET.get("next", request.get_full_path()))
