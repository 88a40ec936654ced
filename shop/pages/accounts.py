"""The pages for signing up, in and out, and where a visitor goes next."""

from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from shop.buyers.accounts import EmailTaken, sign_in, sign_up
from shop.buyers.changing import NOT_DONE, changes, page_at
from shop.limits import count_sign_in, count_sign_up
from shop.pages.cart import KEY, Cart

LONGEST_PASSWORD = 1024


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_up_page(request: HttpRequest) -> HttpResponse:
    """Return the form; or create an account, sign the buyer in and redirect."""
    if request.method != "POST":
        return _form(request, "shop/sign_up.html")
    count_sign_up(request)
    try:
        user = sign_up(*_credentials(request))
    except EmailTaken:
        return _form(request, "shop/sign_up.html", {"email": [_("An account with this address already exists.")]})
    except ValidationError as error:
        return _form(request, "shop/sign_up.html", error.message_dict)
    return _enter(request, user)


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_page(request: HttpRequest) -> HttpResponse:
    """Return the form; or sign the user in and redirect."""
    if request.method != "POST":
        return _form(request, "shop/sign_in.html")
    email, password = _credentials(request)
    count_sign_in(request, email)
    user = sign_in(email, password)
    if user is None:
        return _form(request, "shop/sign_in.html", {"password": [_("The address or the password is wrong.")]})
    return _enter(request, user)


@changes("products", signed_in=False)
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign the user out and return a redirect to the products."""
    logout(request)
    return redirect("products")


def safe_next(request: HttpRequest, otherwise: str) -> str:
    """Return the address in the field `next` if it is within this shop, else the address of the named page.

    For an address that only takes forms, return the address of its page.
    """
    address = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure())
    return page_at(address) if safe else reverse(otherwise)


def _enter(request: HttpRequest, user: User) -> HttpResponse:
    """Sign the user in, with the cart that the visitor has filled, and return a redirect."""
    not_done = request.session.pop(NOT_DONE, False)
    filled = request.session.get(KEY)
    login(request, user)  # empties a session that was another user's, or this user's before a change of the password
    if filled:
        request.session[KEY] = filled
    if not_done:
        text = _("You are signed in again. What you sent before was not done. Please look, and send it again.")
        messages.warning(request, text)
    if Cart(request).joined:
        messages.info(request, _("Your cart also has what you left in it when you were signed in before."))
    return redirect(safe_next(request, "products"))


def _credentials(request: HttpRequest) -> tuple[str, str]:
    return request.POST.get("email", ""), request.POST.get("password", "")[:LONGEST_PASSWORD]


def _form(request: HttpRequest, template: str, errors: dict[str, list[str]] | None = None) -> HttpResponse:
    context = {
        "errors": errors or {},
        "email": request.POST.get("email", ""),
        "next": request.POST.get("next", request.GET.get("next", "")),
        "not_done": NOT_DONE in request.session,
    }
    return render(request, template, context, status=HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK)
