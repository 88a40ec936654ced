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

from lapse.engine.errors import TryLater
from shop.limits import TooOften
from shop.orders.refusals import Refused

log = logging.getLogger("shop.api")

MEDIA_TYPE = "application/problem+json"

STATUS_OF = {
    "bad-order": HTTPStatus.UNPROCESSABLE_ENTITY,
    "idempotency-key-reused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "payment-unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of each refusal by its code; every other one is a 409."""


class Problem(Schema):
    """What every error looks like; some have further fields that say the facts."""

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
    """Build a problem document; `code` is for programs, `details` are further fields."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail}
    if code:
        body["code"] = code
    body |= details or {}
    return HttpResponse(
        json.dumps(body, cls=NinjaJSONEncoder), status=status, content_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def add_handlers(api: NinjaAPI) -> None:
    """Answer each kind of error with its problem document."""

    @api.exception_handler(Refused)
    def refused(_request: HttpRequest, error: Refused) -> HttpResponse:
        status = STATUS_OF.get(error.code, HTTPStatus.CONFLICT)
        return problem(status, error.message, code=error.code, details=error.details)

    @api.exception_handler(ValidationError)
    def invalid(_request: HttpRequest, error: ValidationError) -> HttpResponse:
        errors = [{"where": [str(part) for part in one["loc"]], "message": one["msg"]} for one in error.errors]
        detail = "; ".join(f"{'.'.join(one['where'])}: {one['message']}" for one in errors)
        return problem(422, detail, code="invalid", details={"errors": errors})

    @api.exception_handler(AuthenticationError)
    def stranger(_request: HttpRequest, _error: AuthenticationError) -> HttpResponse:
        return problem(
            401,
            "Send a token: Authorization: Bearer …",
            code="unauthenticated",
            headers={"WWW-Authenticate": 'Bearer realm="shop"'},
        )

    @api.exception_handler(TooOften)
    def too_often(_request: HttpRequest, error: TooOften) -> HttpResponse:
        detail = f"Too many tries. Wait {error.retry_after} s."
        return problem(429, detail, code="too-often", headers={"Retry-After": str(error.retry_after)})

    @api.exception_handler(HttpError)
    def other(_request: HttpRequest, error: HttpError) -> HttpResponse:
        return problem(error.status_code, error.message)

    @api.exception_handler(TryLater)
    @api.exception_handler(InterfaceError)
    @api.exception_handler(OperationalError)
    def away(request: HttpRequest, error: Exception) -> HttpResponse:
        log.error("%s %s found the database away: %s", request.method, request.path, error)
        return problem(
            503,
            "The shop's database does not answer. Try again: an Idempotency-Key keeps it one order.",
            headers={"Retry-After": "2"},
        )

    @api.exception_handler(Exception)
    def fault(request: HttpRequest, error: Exception) -> HttpResponse:
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        return problem(500, "The shop has failed. The fault is in its log.")


class ProblemDocuments:
    """Turns errors under /api/ that Django itself answers (404, 405, …) into problem documents."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request; an error that is no problem document yet becomes one."""
        response = self.get_response(request)
        if (
            response.status_code < HTTPStatus.BAD_REQUEST
            or not request.path_info.startswith("/api/")
            or response.headers.get("Content-Type") == MEDIA_TYPE
        ):
            return response
        kept = {name: value for name, value in response.headers.items() if name == "Allow"}
        return problem(response.status_code, headers=kept)
