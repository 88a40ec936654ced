"""The pages for what goes wrong. They need neither the database nor the session, which may be what is wrong."""

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string

from shop.limits import TooOften


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Show the way back from an address that does not exist."""
    del request, exception
    return _page("404.html", HTTPStatus.NOT_FOUND)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Refuse a page that is for somebody else."""
    del request, exception
    return _page("403.html", HTTPStatus.FORBIDDEN)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Refuse a form that this shop did not give out, or gave out long ago."""
    del request, reason
    return _page("403_csrf.html", HTTPStatus.FORBIDDEN)


def failed(request: HttpRequest) -> HttpResponse:
    """Own up to a fault of the shop's."""
    del request
    return _page("500.html", HTTPStatus.INTERNAL_SERVER_ERROR)


class TooManyRequests:
    """Answers whoever tries too often with a page that says when to try again."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Turn TooOften into its page."""
        del request
        if not isinstance(exception, TooOften):
            return None
        page = _page("429.html", HTTPStatus.TOO_MANY_REQUESTS, {"seconds": exception.retry_after})
        page["Retry-After"] = str(exception.retry_after)
        return page


def _page(template: str, status: int, context: dict[str, object] | None = None) -> HttpResponse:
    return HttpResponse(render_to_string(template, context or {}), status=status)
