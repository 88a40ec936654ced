"""The settings of the example; the last two lines are Lapse's."""

from pathlib import Path

SECRET_KEY = "for this example only"
TIME_ZONE = "UTC"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).parents[1] / "shop.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},  # a transaction waits for its turn at its begin, and never later
        "TEST": {"NAME": Path(__file__).parents[1] / "test.sqlite3"},  # in memory, no transaction waits for another
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["myshop", "lapse.integrations.django"]
LAPSE_ORDERS = "myshop.lapsing.ShopOrders"
LAPSE_TIMER = "redis://localhost:6379/0"
