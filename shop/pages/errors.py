"""The error pages. They need neither the database nor the session, because these may have failed."""

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.template.loader import render_to_string

from shop.buyers.changing import page_for
from shop.limits import RateLimited


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return the page for an address that does not exist."""
    del request, exception
    return _page("404.html", HTTPStatus.NOT_FOUND)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return the page for a user who has no access."""
    del request, exception
    return _page("403.html", HTTPStatus.FORBIDDEN)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return the page for a form that is older than a sign-in in another tab, or did not come from this shop.

    Its button opens the page of the form again.
    """
    del reason
    return _page("403_csrf.html", HTTPStatus.FORBIDDEN, {"onward": page_for(request)})


def failed(request: HttpRequest) -> HttpResponse:
    """Return the page for an error of the shop."""
    del request
    return _page("500.html", HTTPStatus.INTERNAL_SERVER_ERROR)


class ErrorPages:
    """Middleware: the pages for a request over a rate limit, and for an address that only takes forms."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response to the request. Django's 405 is an empty page."""
        response = self.get_response(request)
        if not isinstance(response, HttpResponseNotAllowed) or response.content:
            return response
        onward = page_for(request)
        page = _page("405.html", response.status_code, {"onward": onward if onward != request.get_full_path() else ""})
        page["Allow"] = response["Allow"]
        return page

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the page for RateLimited; None for other exceptions."""
        del request
        if not isinstance(exception, RateLimited):
            return None
        page = _page("429.html", HTTPStatus.TOO_MANY_REQUESTS, {"seconds": exception.retry_after})
        page["Retry-After"] = str(exception.retry_after)
        return page


def _page(template: str, status: int, context: dict[str, object] | None = None) -> HttpResponse:
    return HttpResponse(render_to_string(template, context or {}), status=status)
