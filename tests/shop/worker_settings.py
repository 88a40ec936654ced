"""The settings of a worker that a test starts: the shop's, with the test's database and timer."""

import os

from tests.settings import *  # noqa: F403 - all of them

LAPSE_TIMER = os.environ["LAPSE_TEST_TIMER"]
