"""Wraps gateways so that each call closes the database connections of its thread."""

from collections.abc import Mapping

from django.db import connections

from lapse.orders.gateway import Attempt, ClosingGateway, Ruling


class ConnectionClosingGateway:
    """Calls the gateway, then closes the thread's database connections, which the gateway may have opened.

    Lapsing calls gateways in short-lived threads, and Django would leave a connection open in each thread.
    """

    def __init__(self, gateway: ClosingGateway) -> None:
        self._gateway = gateway

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt and return the gateway's ruling."""
        try:
            return self._gateway.close(attempt)
        finally:
            connections.close_all()


def closing_connections(gateways: Mapping[str, ClosingGateway]) -> dict[str, ClosingGateway]:
    """Return the gateways, each wrapped so that it closes its thread's connections after a call."""
    return {name: ConnectionClosingGateway(gateway) for name, gateway in gateways.items()}
