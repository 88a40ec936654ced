"""The Django settings of every test: the shop's, with a second, smaller shop beside it."""

import os
from typing import Any

# What the shop wants from its environment; a developer's own settings must not change what is tested.
os.environ |= {
    "SECRET_KEY": "for tests only",
    "DATABASE_URL": "postgresql://postgres@/lapse",
    "DEBUG": "0",
    "SHOP_GATEWAY": "development",
    "RATE_LIMITS": "off",
    # Limits on what a buyer holds are in the way of loads. Their own tests set them.
    "LAPSE_HELD_PIECES": "1000000",
    "LAPSE_HELD_OF_PRODUCT": "1000000",
    "LAPSE_HELD_SHARE": "100",
    "LAPSE_PAUSE_AFTER": "0",
}
for name in (
    "HTTPS",
    "DATABASE_POOL",
    "ALLOWED_HOSTS",
    "LOG_LEVEL",
    "LAPSE_TIMER",
    "LAPSE_PAYMENT_WINDOW",
    "LAPSE_PAYMENT_WINDOWS",
    "LAPSE_LONGEST_WINDOW",
    "LAPSE_GRACE",
    "LAPSE_REMIND",
    "LAPSE_OPEN_ORDERS",
    "LAPSE_PAUSE_WITHIN",
    "LAPSE_PAUSE_MOST",
    "CACHE_URL",
    "REDIS_URL",
    "PUBLIC_URL",
    "LEAST_TIME_TO_PAY",
    "ALIPAY_APP_ID",
    "ALIPAY_SELLER_ID",
    "ALIPAY_PRIVATE_KEY",
    "ALIPAY_PRIVATE_KEY_FILE",
    "ALIPAY_PUBLIC_KEY",
    "ALIPAY_PUBLIC_KEY_FILE",
    "ALIPAY_APP_CERTIFICATE",
    "ALIPAY_APP_CERTIFICATE_FILE",
    "ALIPAY_CERTIFICATE",
    "ALIPAY_CERTIFICATE_FILE",
    "ALIPAY_ROOT_CERTIFICATES",
    "ALIPAY_ROOT_CERTIFICATES_FILE",
    "ALIPAY_GATEWAY_URL",
    "TRUSTED_PROXIES",
    "MAIL_SERVER",
    "MAIL_FROM",
    "WEBHOOK_URLS",
    "WEBHOOK_SECRETS",
):
    os.environ.pop(name, None)

from shop.settings import *  # noqa: E402, F403 - read after its environment is set
from shop.settings import INSTALLED_APPS as SHOP_APPS  # noqa: E402 - as above

INSTALLED_APPS = [*SHOP_APPS, "tests.django.adopter", "tests.django.wirings"]
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("LAPSE_TEST_DATABASE", "lapse"),
        "USER": "postgres",
        # The folder of the socket: set by the fixture that starts the server, or by a test for a process it starts.
        "HOST": os.environ.get("LAPSE_TEST_DATABASE_HOST", ""),
    }
}
LAPSE_TIMER = "memory://"
# Static files are looked for when they are asked for: each client of a test would list all of them.
WHITENOISE_AUTOREFRESH = True
# Every test sees the log; the shop's own way of writing it is tested where that lives.
LOGGING_CONFIG = None
