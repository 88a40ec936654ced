"""Middleware for every response: the Content-Security-Policy, and the static files under an asynchronous server."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]  # it ships no types

POLICY = (
    "default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"
)
"""Pages load the shop's own files only."""

INLINE_STYLES = "/api/docs"
"""The API's documentation page sets some styles inline. No page of the shop does."""


class ContentSecurityPolicy:
    """Adds the Content-Security-Policy header to every response.

    Forms lead back to the shop, and by a redirect to the PAYMENT_ORIGINS of the settings.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        forms = " ".join(["'self'", *getattr(settings, "PAYMENT_ORIGINS", [])])
        self.policy = POLICY.format(styles="'self'", forms=forms)
        self.policy_with_styles = POLICY.format(styles="'self' 'unsafe-inline'", forms=forms)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response with the policy added."""
        response = self.get_response(request)
        policy = self.policy_with_styles if request.path_info == INLINE_STYLES else self.policy
        response.headers["Content-Security-Policy"] = policy
        return response


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # WhiteNoise has no types
    """Serves the static files. A file is read at once, because a blocking file iterator does not suit ASGI."""

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:  # noqa: ANN401  # WhiteNoise has no types
        """Return one file as a response with the headers that WhiteNoise chose."""
        found = static_file.get_response(request.method, request.META)
        if found.file is None:
            content = b""
        else:
            with found.file as file:
                content = file.read()
        response = HttpResponse(content, status=int(found.status))
        del response["Content-Type"]
        for name, value in found.headers:
            response[name] = value
        return response
