"""Signing up, in and out."""

from http import HTTPStatus

from django.contrib.auth import login, logout
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from shop.buyers.signing_up import EmailTaken, sign_in, sign_up
from shop.limits import count_sign_in, count_sign_up
from shop.pages.redirects import safe_next

LONGEST_PASSWORD = 1024


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_up_page(request: HttpRequest) -> HttpResponse:
    """Make an account and sign in."""
    if request.method != "POST":
        return _form(request, "shop/sign_up.html")
    count_sign_up(request)
    try:
        user = sign_up(*_credentials(request))
    except EmailTaken:
        return _form(request, "shop/sign_up.html", {"email": [_("Somebody has signed up with this address before.")]})
    except ValidationError as error:
        return _form(request, "shop/sign_up.html", error.message_dict)
    login(request, user)
    return redirect(safe_next(request, "products"))


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_page(request: HttpRequest) -> HttpResponse:
    """Sign in."""
    if request.method != "POST":
        return _form(request, "shop/sign_in.html")
    email, password = _credentials(request)
    count_sign_in(request, email)
    user = sign_in(email, password)
    if user is None:
        return _form(request, "shop/sign_in.html", {"password": [_("The address or the password is wrong.")]})
    login(request, user)
    return redirect(safe_next(request, "products"))


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out."""
    logout(request)
    return redirect("products")


def _credentials(request: HttpRequest) -> tuple[str, str]:
    return request.POST.get("email", ""), request.POST.get("password", "")[:LONGEST_PASSWORD]


def _form(request: HttpRequest, template: str, errors: dict[str, list[str]] | None = None) -> HttpResponse:
    context = {
        "errors": errors or {},
        "email": request.POST.get("email", ""),
        "next": request.POST.get("next", request.GET.get("next", "")),
    }
    return render(request, template, context, status=HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK)
