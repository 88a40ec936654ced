"""The one set of orders and the one timer that the settings name, opened when they are first asked for."""

import threading
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.module_loading import import_string

from lapse.config import MECHANISMS, open_timer, traits_of
from lapse.engine.errors import ConfigError, MissingLibrary
from lapse.engine.events import Hook
from lapse.engine.timer import Timer
from lapse.integrations.django.unpaid_orders import UnpaidOrders

_lock = threading.RLock()
_orders: UnpaidOrders[Any] | None = None
_timer: Timer | None = None


def unpaid_orders() -> UnpaidOrders[Any]:
    """Return the shop's unpaid orders, the class that LAPSE_ORDERS names; one instance per process.

    Raises ConfigError where the setting is missing or names something else.
    """
    global _orders  # noqa: PLW0603 - one per process, as Django's own settings are
    with _lock:
        if _orders is None:
            _orders = orders_class()()
        return _orders


def orders_class() -> type[UnpaidOrders[Any]]:
    """Import the class that LAPSE_ORDERS names. Raises ConfigError where there is none."""
    path = getattr(settings, "LAPSE_ORDERS", None)
    if not path:
        raise ConfigError("LAPSE_ORDERS is not set: name your subclass of UnpaidOrders, as 'myshop.lapsing.ShopOrders'")
    try:
        found = import_string(path)
    except ImportError as error:
        raise ConfigError(f"LAPSE_ORDERS names {path!r}, which cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, UnpaidOrders)):
        raise ConfigError(f"LAPSE_ORDERS names {path!r}, which is not a subclass of UnpaidOrders")
    return found


def timer_url() -> str | None:
    """Return LAPSE_TIMER, or None where the sweep is to do without a timer."""
    url = getattr(settings, "LAPSE_TIMER", None)
    return None if url in (None, "", "none") else str(url)


def timer_is_transactional() -> bool:
    """Say whether the timer that LAPSE_TIMER chooses can be armed in an order's transaction. No server is asked.

    False where there is no such timer or its library is missing: opening it will say so.
    """
    scheme = urlsplit(timer_url() or "").scheme
    try:
        return scheme in MECHANISMS and traits_of(scheme).transactional
    except MissingLibrary:
        return False


def timer() -> Timer | None:
    """Return the timer that LAPSE_TIMER chooses, one per process; None where it is None, empty or "none".

    Raises what `open_timer` raises; the next call tries again.
    """
    global _timer  # noqa: PLW0603 - one per process: it holds connections
    with _lock:
        if _timer is None and (url := timer_url()) is not None:
            _timer = open_timer(url, name=unpaid_orders().name)
        return _timer


def hooks() -> tuple[Hook, ...]:
    """Import the hooks that LAPSE_HOOKS names; a class is called for its instance. None unless set.

    Raises ConfigError where one cannot be imported, or called.
    """
    return tuple(_hook(path) for path in getattr(settings, "LAPSE_HOOKS", ()))


def _hook(path: str) -> Hook:
    try:
        found = import_string(path)
    except ImportError as error:
        raise ConfigError(f"LAPSE_HOOKS names {path!r}, which cannot be imported: {error}") from error
    hook: Hook = found() if isinstance(found, type) else found
    if not callable(hook):
        raise ConfigError(f"LAPSE_HOOKS names {path!r}, which takes no events: it cannot be called")
    return hook


def forget(*, setting: str, **_: object) -> None:
    """Open both anew after a test has overridden their settings."""
    global _orders, _timer  # noqa: PLW0603 - as above
    if setting not in {"LAPSE_ORDERS", "LAPSE_TIMER"}:
        return
    with _lock:
        _orders = None
        if _timer is not None:
            _timer.close()
            _timer = None
