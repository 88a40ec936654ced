"""Settings of a worker for one tenant: each connection of each of its threads looks in the tenant's schema."""

import os

from tests.django.adopter.settings import *  # noqa: F403 - the same settings but for two
from tests.django.adopter.settings import DATABASES

LAPSE_ORDERS = "tests.django.adopter.tenants.TenantOrders"
DATABASES["default"]["OPTIONS"] = {"options": f"-c search_path={os.environ['LAPSE_TEST_SCHEMA']}"}
