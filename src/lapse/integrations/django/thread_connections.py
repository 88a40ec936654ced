"""Gateways that give back the database connections of the threads in which they are asked."""

from collections.abc import Mapping

from django.db import connections

from lapse.orders.gateway import Attempt, Gateway, Ruling


class TidyGateway:
    """Asks the gateway and closes the thread's connections: a gateway may well look something up in the database.

    Lapsing asks gateways in threads that end soon, and Django would leave a connection open in each of them.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt, as the gateway does."""
        try:
            return self._gateway.close(attempt)
        finally:
            connections.close_all()


def tidy(gateways: Mapping[str, Gateway]) -> dict[str, Gateway]:
    """Make all of them tidy."""
    return {name: TidyGateway(gateway) for name, gateway in gateways.items()}
