"""LAPSE_ORDERS and LAPSE_HOOKS: the shop's orders, created at their first use, and the worker's hooks."""

import threading
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from lapse.engine.errors import ConfigError
from lapse.engine.events import Hook
from lapse.engine.timer import Timer
from lapse.integrations.django.timer_setting import close_timers, timer_named
from lapse.integrations.django.unpaid_orders import UnpaidOrders

_lock = threading.RLock()
_orders: UnpaidOrders[Any] | None = None


def unpaid_orders() -> UnpaidOrders[Any]:
    """Return the shop's unpaid orders, the class that LAPSE_ORDERS names; one instance per process.

    Raises ConfigError if the setting is missing or does not name such a class.
    """
    global _orders  # noqa: PLW0603 - one per process, as Django's own settings are
    with _lock:
        if _orders is None:
            _orders = orders_class()()
        return _orders


def orders_class() -> type[UnpaidOrders[Any]]:
    """Import and return the class that LAPSE_ORDERS names. Raises ConfigError if there is none."""
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


def timer() -> Timer | None:
    """Return the orders' timer that LAPSE_TIMER names, one per process; None if the setting is None, "" or "none".

    Errors of `open_timer` are passed on; the next call tries again.
    """
    return timer_named(unpaid_orders().name)


def hooks() -> tuple[Hook, ...]:
    """Import and return the hooks that LAPSE_HOOKS names; of a class, an instance is created. Empty if not set.

    Raises ConfigError if a hook cannot be imported or is not callable.
    """
    return tuple(_hook(path) for path in getattr(settings, "LAPSE_HOOKS", ()))


def _hook(path: str) -> Hook:
    try:
        found = import_string(path)
    except ImportError as error:
        raise ConfigError(f"LAPSE_HOOKS names {path!r}, which cannot be imported: {error}") from error
    hook: Hook = found() if isinstance(found, type) else found
    if not callable(hook):
        raise ConfigError(f"LAPSE_HOOKS names {path!r}, which is not callable, so it cannot receive events")
    return hook


def forget(*, setting: str, **_: object) -> None:
    """Drop the orders and the timer after a test has overridden their settings; the next use creates them again."""
    global _orders  # noqa: PLW0603 - as above
    if setting not in {"LAPSE_ORDERS", "LAPSE_TIMER"}:
        return
    with _lock:
        _orders = None
        close_timers()
