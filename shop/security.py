"""What the pages may load: their own files and nothing else."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Inline styles are for the API's documentation page, which sets some; the shop's own pages have none."""


class ContentSecurityPolicy:
    """Adds the Content-Security-Policy header to every answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request with the policy added."""
        response = self.get_response(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response
