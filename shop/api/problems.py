"""Every error of the API is a problem document (RFC 9457)."""

import json
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.responses import NinjaJSONEncoder

from lapse import TryLater
from shop.limits import RateLimited
from shop.orders.refusals import Refused

log = logging.getLogger("shop.api")

MEDIA_TYPE = "application/problem+json"

STATUS_OF = {
    "bad-order": HTTPStatus.UNPROCESSABLE_ENTITY,
    "idempotency-key-reused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "payment-unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "paused": HTTPStatus.TOO_MANY_REQUESTS,
    "link-still-open": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of refusals by their code. Every other refusal is a 409."""


class Problem(Schema):
    """The form of every error. Some errors have further fields with details."""

    type: str
    title: str
    status: int
    detail: str = ""
    code: str = ""


def problem(
    status: int,
    detail: str = "",
    *,
    code: str = "",
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Return a problem document. `code` is for programs, `details` are further fields."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail}
    if code:
        body["code"] = code
    body |= details or {}
    return HttpResponse(
        json.dumps(body, cls=NinjaJSONEncoder), status=status, content_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def add_handlers(api: NinjaAPI) -> None:
    """Register a handler per kind of error that returns its problem document."""

    @api.exception_handler(Refused)
    def refused(_request: HttpRequest, error: Refused) -> HttpResponse:
        status = STATUS_OF.get(error.code, HTTPStatus.CONFLICT)
        wait = error.details.get("retry_after")
        headers = {} if wait is None else {"Retry-After": str(wait)}
        return problem(status, error.message, code=error.code, details=error.details, headers=headers)

    @api.exception_handler(ValidationError)
    def invalid(_request: HttpRequest, error: ValidationError) -> HttpResponse:
        errors = [{"where": [str(part) for part in found["loc"]], "message": found["msg"]} for found in error.errors]
        detail = "; ".join(f"{'.'.join(found['where'])}: {found['message']}" for found in errors)
        return problem(422, detail, code="invalid", details={"errors": errors})

    @api.exception_handler(AuthenticationError)
    def unauthenticated(_request: HttpRequest, _error: AuthenticationError) -> HttpResponse:
        return problem(
            401,
            "Send a token: Authorization: Bearer …",
            code="unauthenticated",
            headers={"WWW-Authenticate": 'Bearer realm="shop"'},
        )

    @api.exception_handler(RateLimited)
    def rate_limited(_request: HttpRequest, error: RateLimited) -> HttpResponse:
        detail = f"Too many attempts. Try again in {error.retry_after} s."
        return problem(429, detail, code="too-often", headers={"Retry-After": str(error.retry_after)})

    @api.exception_handler(HttpError)
    def other(_request: HttpRequest, error: HttpError) -> HttpResponse:
        return problem(error.status_code, error.message)

    @api.exception_handler(TryLater)
    @api.exception_handler(InterfaceError)
    @api.exception_handler(OperationalError)
    def database_unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
        log.error("%s %s failed, because the database does not answer: %s", request.method, request.path, error)
        return problem(
            503,
            "The shop's database does not answer. Try again: with an Idempotency-Key the order is placed only once.",
            headers={"Retry-After": "2"},
        )

    @api.exception_handler(Exception)
    def failed(request: HttpRequest, error: Exception) -> HttpResponse:
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        return problem(500, "The shop has failed. The error is in its log.")


class ProblemDocuments:
    """Middleware: Django's own errors under /api/ (404, 405, …) become problem documents."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response. An error that is no problem document yet becomes one."""
        response = self.get_response(request)
        if (
            response.status_code < HTTPStatus.BAD_REQUEST
            or not request.path_info.startswith("/api/")
            or response.headers.get("Content-Type") == MEDIA_TYPE
        ):
            return response
        kept = {name: value for name, value in response.headers.items() if name == "Allow"}
        return problem(response.status_code, headers=kept)
