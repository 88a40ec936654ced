"""Whether the tests that need a RabbitMQ can run."""

import pytest

from lapse.testing.servers import RabbitMissing, rabbit_scripts


def skip_without_rabbit() -> None:
    """Skip where there is no RabbitMQ; test_services says what is not tested then, and fails in CI."""
    try:
        rabbit_scripts()
    except RabbitMissing as error:
        pytest.skip(str(error))
