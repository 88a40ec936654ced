"""Gateways that close the database connections of the threads in which they are asked."""

from collections.abc import Mapping

from django.db import connections

from lapse.orders.gateway import Attempt, Gateway, Ruling


class ConnectionClosingGateway:
    """Asks the gateway and closes the thread's connections: a gateway may well look something up in the database.

    Lapsing asks gateways in threads that end soon, and Django would leave a connection open in each of them.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt and return the gateway's ruling."""
        try:
            return self._gateway.close(attempt)
        finally:
            connections.close_all()


def closing_connections(gateways: Mapping[str, Gateway]) -> dict[str, Gateway]:
    """Return the same gateways, each of which closes its thread's connections after use."""
    return {name: ConnectionClosingGateway(gateway) for name, gateway in gateways.items()}
