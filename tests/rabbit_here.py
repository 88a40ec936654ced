"""Skips the tests that need RabbitMQ where it is not installed."""

import pytest

from lapse.testing.servers import RabbitMissing, rabbit_scripts


def skip_without_rabbit() -> None:
    """Skip where RabbitMQ is missing. test_services then lists what is not tested, and fails in CI."""
    try:
        rabbit_scripts()
    except RabbitMissing as error:
        pytest.skip(str(error))
