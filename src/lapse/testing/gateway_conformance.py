"""The test suite that every payment gateway must pass. A new gateway is complete when the suite passes.

Subclass `GatewayConformance` in a test module and give it one fixture:

    class TestMyGateway(GatewayConformance):
        @pytest.fixture
        def provider(self):
            with MyProvider() as provider:
                yield provider

`MyProvider` is a `Provider`: the gateway under test, beside a simulator or a sandbox of the payment provider. There the
suite pays, refunds, lets time pass and switches on faults. The suite tests what each verdict promises, that no attempt
is ever both closed and paid, and that no money is refunded twice.
"""

import pytest

from lapse.testing.gateway_closing import ClosingTests
from lapse.testing.gateway_provider import Fault, Provider
from lapse.testing.gateway_queries import QueryTests
from lapse.testing.gateway_refunds import RefundTests

__all__ = ["Fault", "GatewayConformance", "Provider"]


class GatewayConformance(ClosingTests, QueryTests, RefundTests):
    """The suite."""

    @pytest.fixture
    def provider(self) -> Provider:
        """Return the provider of this test, with no fault."""
        raise NotImplementedError("a subclass returns its provider")
