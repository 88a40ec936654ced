"""The error pages. They need neither the database nor the session, because these may have failed."""

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string

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
    """Return the page for a form that has expired or did not come from this shop."""
    del request, reason
    return _page("403_csrf.html", HTTPStatus.FORBIDDEN)


def failed(request: HttpRequest) -> HttpResponse:
    """Return the page for an error of the shop."""
    del request
    return _page("500.html", HTTPStatus.INTERNAL_SERVER_ERROR)


class TooManyRequests:
    """Middleware: a request over a rate limit gets a page that says when to try again."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response to the request."""
        return self.get_response(request)

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
