"""Who may see which page of the console."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache

View = Callable[..., HttpResponse]


def staff_with(*permissions: str) -> Callable[[View], View]:
    """Let staff in who have all of these permissions; strangers are led to the sign-in, others are refused."""

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
