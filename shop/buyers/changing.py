"""Views that change something. A change that was not made, because its sender had to sign in, leads to a page."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import NoReverseMatch, Resolver404, ResolverMatch, resolve, reverse
from django.views.decorators.http import require_POST

NOT_DONE = "not-done"
"""The key in the session of a visitor whose change was not made, until the visitor has signed in."""

LONGEST_KEY = 64
"""The characters of a form's key that are stored."""

View = Callable[..., HttpResponse]


def changes(back_to: str, *, signed_in: bool = True, keep: Sequence[str] = ()) -> Callable[[View], View]:
    """Return a decorator for a view that only takes a POST, by default only from users who are signed in.

    `back_to` names the page where a browser goes instead, if the change was not made; `keep` names the fields that it
    takes along in its query. A visitor is redirected to the sign-in, and from there to that page.
    """

    def around(view: View) -> View:
        @require_POST
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ANN401  # the view's own
            if signed_in and not request.user.is_authenticated:
                return ask_to_sign_in(request)
            return view(request, *args, **kwargs)

        guarded.__dict__["back_to"] = (back_to, tuple(keep))
        return guarded

    return around


def is_form_key(text: str) -> bool:
    """Return whether this is the key of a form, by which a form that is sent twice counts once: it fits the column."""
    return text.isalnum() and len(text) <= LONGEST_KEY


def ask_to_sign_in(request: HttpRequest) -> HttpResponse:
    """Return a redirect to the sign-in, which says that nothing was done and leads to the page for this change."""
    remember_not_done(request)
    return redirect_to_login(page_for(request))


def remember_not_done(request: HttpRequest) -> None:
    """Let the sign-in, and the page that follows it, say that nothing was done."""
    request.session[NOT_DONE] = True


def page_for(request: HttpRequest) -> str:
    """Return the address of the page from which this request can be made again: a GET of it shows that page."""
    return _page(request.resolver_match, request.POST) or request.get_full_path()


def page_at(address: str) -> str:
    """Return this address of the shop; if it only takes forms, the address of the page for its change."""
    try:
        match = resolve(urlsplit(address).path)
    except (Resolver404, ValueError):
        return address
    return _page(match, QueryDict()) or address


def _page(match: ResolverMatch | None, form: QueryDict) -> str | None:
    name, keep = getattr(match and match.func, "back_to", ("", ()))
    if match is None or not name:
        return None
    try:
        page = reverse(name, args=match.args, kwargs=match.kwargs)
    except NoReverseMatch:  # one page serves all of them
        page = reverse(name)
    kept = {field: form[field] for field in keep if field in form}
    return f"{page}?{urlencode(kept)}" if kept else page
