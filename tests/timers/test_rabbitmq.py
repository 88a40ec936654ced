"""The RabbitMQ timer passes the conformance suite, as far as its traits promise."""

from collections.abc import Callable

import pytest

from lapse import Timer, open_timer
from lapse.testing.conformance import TimerConformance
from lapse.testing.servers import RabbitServer


class TestRabbitTimer(TimerConformance):
    @pytest.fixture
    def handles(self, rabbit: RabbitServer, timer_name: str) -> Callable[[], Timer]:
        """Open a timer of this test's own on the broker."""
        return lambda: open_timer(rabbit.url, name=timer_name)
