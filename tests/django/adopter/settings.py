"""Settings of the processes that tests start: the small shop, with the timer that the test names."""

import os

from tests.settings import *  # noqa: F403 - the same settings but for two

LAPSE_ORDERS = "tests.django.adopter.lapsing.AdopterOrders"
LAPSE_TIMER = os.environ["LAPSE_TEST_TIMER"]
