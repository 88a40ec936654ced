"""The API, fuzzed from its own description: no error 500, and a refused request changes nothing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from django.contrib.auth.models import User
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from pytest_django import Settings

from shop.api.app import api
from shop.buyers.models import ApiToken
from shop.catalogue.models import Product
from shop.orders.models import AuditEntry, Order, Reservation
from shop.payments.models import PaymentAttempt
from shop.statistics.models import Tally
from tests.shop.rehearsal import assert_no_drift

if TYPE_CHECKING:
    from schemathesis import Case, Response

OF_AN_ORDER = ("get_order", "cancel_order", "pay_order")


@pytest.fixture
def description(buyer: User, merchant: User, cup: Product, pot: Product) -> dict[str, Any]:
    """Return the API's own description, with real SKUs and prices, and with links from an order to its routes."""
    del buyer, merchant
    Product.objects.update(on_hand=1000)
    raw: dict[str, Any] = dict(api.get_openapi_schema())
    line = raw["components"]["schemas"]["LineIn"]["properties"]
    line["sku"] = {"type": "string", "enum": [cup.sku, pot.sku, "NONE"]}
    line["unit_price"] = {"type": "string", "enum": [str(cup.price), str(pot.price), "1.00"]}
    line["quantity"] = {"type": "integer", "minimum": 1, "maximum": 20}
    operations = {route["operationId"]: route for path in raw["paths"].values() for route in path.values()}
    links = {
        name: {"operationId": name, "parameters": {"order_id": "$response.body#/id"}}
        for name in operations
        if name.endswith(OF_AN_ORDER)
    }
    assert len(links) == len(OF_AN_ORDER)
    for name, route in operations.items():
        for status in (200, 201, 202):
            if name.endswith(("create_order", *OF_AN_ORDER)) and status in route["responses"]:
                route["responses"][status]["links"] = links
    return raw


@pytest.fixture(autouse=True)
def quiet(shop: Settings) -> Iterator[None]:
    """Switch rate limits off, and the log of what is refused."""
    shop.RATELIMIT_ENABLE = False
    shop.ALLOWED_HOSTS = ["*"]
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def everything() -> object:
    """Return all that a request could change."""
    return (
        list(Order.objects.order_by("pk").values_list("pk", "status", "pay_by")),
        list(Product.objects.order_by("pk").values_list("pk", "on_hand", "held")),
        list(Reservation.objects.order_by("pk").values_list("pk", "state")),
        list(PaymentAttempt.objects.order_by("pk").values_list("pk", "state", "paid")),
        list(Tally.objects.order_by("pk").values_list("pk", "count", "amount")),
        AuditEntry.objects.count(),
        User.objects.count(),
    )


@pytest.mark.parametrize("examples", [5, pytest.param(100, marks=pytest.mark.long)])
def test_a_refused_request_changes_nothing(
    description: dict[str, Any], buyer: User, merchant: User, examples: int
) -> None:
    """Buyers, merchants and strangers call any route in any sequence, also with what the description forbids."""
    from schemathesis import openapi  # noqa: PLC0415 # each process that collects tests would wait a second for it

    schema = openapi.from_dict(description)
    schema.app = get_wsgi_application()
    tokens = {"buyer": ApiToken.issue(buyer), "merchant": ApiToken.issue(merchant), "stranger": "no token"}

    seen = Counter[tuple[str, int]]()
    wrong: list[str] = []

    class Callers(schema.as_state_machine()):  # type: ignore[misc] # made at run time
        before: object

        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            """Call as one of the users: which one depends on the case, so that an example can be repeated."""
            users = ["buyer"] * 8 + ["merchant", "stranger"]
            user = users[crc32(repr((case.path_parameters, case.query, case.body)).encode()) % len(users)]
            return {"headers": {"Authorization": f"Bearer {tokens[user]}"}}

        def before_call(self, case: Case[Any]) -> None:
            """Remember everything."""
            del case
            self.before = everything()

        def validate_response(self, response: Response, case: Case[Any], **_: Any) -> None:
            """Note an error, and a request that changed something although it was refused.

            An assertion here would let Hypothesis repeat the example on data that has changed, and report only that.
            """
            seen[case.operation.label, response.status_code] += 1
            refused = response.status_code >= 400 or case.method == "GET"
            if response.status_code >= 500 or (refused and everything() != self.before):
                wrong.append(f"{case.as_curl_command()}: {response.status_code}")

    quick = settings(
        max_examples=examples, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Callers, settings=quick)
    assert wrong == []
    if examples > 5:
        assert seen["POST /api/orders", 201] > 0, seen
    assert_no_drift()
