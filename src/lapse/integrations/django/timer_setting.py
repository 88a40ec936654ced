"""LAPSE_TIMER: the timer that the settings name, opened at its first use."""

import threading

from django.conf import settings

from lapse.config import open_timer, scheme_of, traits_of
from lapse.engine.errors import ConfigError
from lapse.engine.timer import Timer

_lock = threading.RLock()
_opened: dict[str, Timer] = {}  # timer name → timer; one per process, because a timer holds connections


def timer_url() -> str | None:
    """Return LAPSE_TIMER, or None if the sweep works without a timer."""
    url = getattr(settings, "LAPSE_TIMER", None)
    return None if url in (None, "", "none") else str(url)


def timer_is_transactional() -> bool:
    """Return whether the timer that LAPSE_TIMER names can be armed in an order's transaction. Contacts no server.

    Return False if there is no such timer or its library is missing: opening the timer raises that error.
    """
    url = timer_url()
    try:
        return url is not None and traits_of(scheme_of(url)).transactional
    except ConfigError:
        return False


def timer_named(name: str) -> Timer | None:
    """Return this process's timer of that name; None if LAPSE_TIMER is None, empty or "none".

    Errors of `open_timer` are passed on; the next call tries again.
    """
    with _lock:
        if name not in _opened and (url := timer_url()) is not None:
            _opened[name] = open_timer(url, name=name)
        return _opened.get(name)


def close_timers() -> None:
    """Close the timers; the next use opens them again. For tests that override the settings."""
    with _lock:
        while _opened:
            _opened.popitem()[1].close()
