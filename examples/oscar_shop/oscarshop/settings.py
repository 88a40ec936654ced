"""The settings of the shop: those that Oscar's own documentation asks for, then the pipeline, then Lapse's.

DATABASE_URL    The shop's database; without it a SQLite file beside manage.py.
LAPSE_TIMER     The timer; without it a table in the shop's database.
PAY_WITHIN      Seconds in which an order must be paid (1800).
"""

import os
from pathlib import Path

import dj_database_url
import oscar
from oscar.defaults import *  # noqa: F403 - as Oscar's documentation says

SHOP = Path(__file__).parents[1]
DATABASE_URL = os.environ.get("DATABASE_URL", f"sqlite:///{SHOP}/shop.sqlite3")

SECRET_KEY = "for this example only"
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
SITE_ID = 1
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = SHOP / "media"
ROOT_URLCONF = "oscarshop.urls"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"  # what the migrations of Oscar have
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}}
AUTHENTICATION_BACKENDS = ["oscar.apps.customer.auth_backends.EmailBackend"]
DATABASES = {"default": dj_database_url.parse(DATABASE_URL)}
if DATABASE_URL.startswith("sqlite"):
    # A transaction takes the write lock when it begins, so that two buyers wait for each other and none fails.
    DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 20}

INSTALLED_APPS = [*oscar.INSTALLED_APPS, "sorl.thumbnail", "oscarshop", "lapse.integrations.django"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "oscar.apps.basket.middleware.BasketMiddleware",
    "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "oscar.apps.search.context_processors.search_form",
                "oscar.apps.checkout.context_processors.checkout",
                "oscar.apps.communication.notifications.context_processors.notifications",
                "oscar.core.context_processors.metadata",
            ]
        },
    }
]

OSCAR_INITIAL_ORDER_STATUS = OSCAR_INITIAL_LINE_STATUS = "Pending"
OSCAR_ORDER_STATUS_PIPELINE = OSCAR_LINE_STATUS_PIPELINE = {
    "Pending": ("Being processed", "Cancelled"),
    "Being processed": ("Dispatched", "Cancelled"),
    "Dispatched": (),
    "Cancelled": (),
}
OSCAR_ORDER_STATUS_CASCADE = {status: status for status in OSCAR_ORDER_STATUS_PIPELINE}

# `manage.py oscar_send_alerts`, from cron, sends mail to buyers who wait for a product. Otherwise Oscar would send it
# whenever stock changes, so also inside the transaction that cancels orders and has locked their stock records.
OSCAR_EAGER_ALERTS = False

PAY_WITHIN = int(os.environ.get("PAY_WITHIN", "1800"))
LAPSE_ORDERS = "oscarshop.lapsing.OscarOrders"
LAPSE_TIMER = os.environ.get("LAPSE_TIMER", DATABASE_URL)
