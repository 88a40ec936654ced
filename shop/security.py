"""What the pages may load: their own files and nothing else."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

POLICY = (
    "default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"
)
INLINE_STYLES = "/api/docs"
"""The API's documentation page sets some styles inline; no page of the shop does."""


class ContentSecurityPolicy:
    """Adds the Content-Security-Policy header to every answer.

    Forms lead back to the shop, and by a redirect to the PAYMENT_ORIGINS of the settings.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        forms = " ".join(["'self'", *getattr(settings, "PAYMENT_ORIGINS", [])])
        self.policy = POLICY.format(styles="'self'", forms=forms)
        self.policy_with_styles = POLICY.format(styles="'self' 'unsafe-inline'", forms=forms)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request with the policy added."""
        response = self.get_response(request)
        policy = self.policy_with_styles if request.path_info == INLINE_STYLES else self.policy
        response.headers["Content-Security-Policy"] = policy
        return response
