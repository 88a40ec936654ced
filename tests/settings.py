"""The Django settings of every test."""

import os

SECRET_KEY = "for tests only"
USE_TZ = True
INSTALLED_APPS = ["lapse.integrations.django", "tests.django.adopter"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("LAPSE_TEST_DATABASE", "lapse"),
        "USER": "postgres",
        # The folder of the socket: set by the fixture that starts the server, or by a test for a process it starts.
        "HOST": os.environ.get("LAPSE_TEST_DATABASE_HOST", ""),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LAPSE_ORDERS = "tests.django.adopter.lapsing.AdopterOrders"
LAPSE_TIMER = "memory://"
