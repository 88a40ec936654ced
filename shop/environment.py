"""Reads settings from the environment. A wrong value is an error that names the variable."""

import base64
import os
from datetime import timedelta
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from lapse import ConfigError, check_url
from shop.windows import read_windows, refuse_short

TRUE = {"1", "true", "yes", "on"}
FALSE = {"", "0", "false", "no", "off"}


def flag(name: str) -> bool:
    """Return whether the variable is on; off by default. Raises ImproperlyConfigured for other values."""
    value = os.environ.get(name, "").strip().lower()
    if value not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} must be 1 or 0, not {value!r}.")
    return value in TRUE


def whole(name: str, default: int, *, least: int = 1) -> int:
    """Return a whole number of at least `least`. Raises ImproperlyConfigured for other values."""
    value = os.environ.get(name, "").strip() or str(default)
    if not (value.isascii() and value.isdigit()) or int(value) < least:
        raise ImproperlyConfigured(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return int(value)


def rate_limits(name: str) -> bool:
    """Return whether rate limits are on. They can be switched off for tests and measurements.

    Raises ImproperlyConfigured if they are off in a shop that has public names or TLS.
    """
    value = os.environ.get(name, "").strip().lower() or "on"
    if value not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} must be on or off, not {value!r}.")
    if value in FALSE and (names("ALLOWED_HOSTS") or flag("HTTPS")):
        raise ImproperlyConfigured(f"{name} can be off only where ALLOWED_HOSTS and HTTPS are unset: on your machine.")
    return value in TRUE


def cache(*variables: str) -> dict[str, Any]:
    """Return the cache for rate limits: the Redis that the first set variable names, or this process's memory.

    Raises ImproperlyConfigured if the variable is no Redis address.
    """
    for name in variables:
        url = os.environ.get(name, "").strip()
        if url and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ImproperlyConfigured(f"{name} must be an address such as redis://localhost:6379/1.")
        if url:
            return {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": url,
                "KEY_PREFIX": "shop",
                # A Redis that hangs must not hang every sign-in.
                "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
            }
    return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


def choice(name: str, default: str, *others: str) -> str:
    """Return one of the allowed words. Raises ImproperlyConfigured for other values."""
    value = os.environ.get(name, "").strip() or default
    if value not in (default, *others):
        raise ImproperlyConfigured(f"{name} must be {' or '.join((default, *others))}, not {value!r}.")
    return value


def gateway(name: str) -> str:
    """Return the gateway where orders are paid.

    Raises ImproperlyConfigured for the development gateway, which pays without money, in a shop with public names or
    TLS.
    """
    value = choice(name, "alipay", "development")
    if value == "development" and (names("ALLOWED_HOSTS") or flag("HTTPS")):
        raise ImproperlyConfigured(f"{name}=development pays without money: unset ALLOWED_HOSTS and HTTPS first.")
    return value


def seconds(name: str, default: float, longest: float, *, may_be_zero: bool = False) -> float:
    """Return a number of seconds above 0, or 0 if it `may_be_zero`, and up to `longest`.

    Raises ImproperlyConfigured for other values.
    """
    value = os.environ.get(name, "").strip() or str(default)
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not (0 < number <= longest or (may_be_zero and number == 0)):
        least = "from 0" if may_be_zero else "above 0 and"
        raise ImproperlyConfigured(f"{name} must be a number of seconds {least} up to {longest:,.0f}, not {value!r}.")
    return number


def payment_windows(name: str) -> dict[str, timedelta]:
    """Return the payment windows by payment method; empty by default. Raises ImproperlyConfigured for other values."""
    try:
        return read_windows(os.environ.get(name, ""))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} {error}.") from error


def long_enough(name: str, window: timedelta, gateway: str, least_time: timedelta) -> None:
    """Raise ImproperlyConfigured, with the variable's name, if no order could be paid within the window."""
    try:
        refuse_short(gateway, window, least_time)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} {error}.") from error


def names(name: str) -> list[str]:
    """Return a list whose items are separated by commas; empty by default."""
    return [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]


def secret_key(*, debug: bool) -> str:
    """Return SECRET_KEY. Raises ImproperlyConfigured if it is missing, except with DEBUG."""
    value = os.environ.get("SECRET_KEY", "")
    if not value and not debug:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Set it to a long random text and keep it secret; on your own machine, DEBUG=1 does."
        )
    return value or "only-for-debugging"


def webhook_secret(name: str) -> str:
    """Return a Standard Webhooks secret, base64 with or without `whsec_`; "" if it is unset.

    Raises ImproperlyConfigured if it is not base64 or has fewer than 24 bytes, the minimum of that standard.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        return ""
    try:
        secret = base64.b64decode(value.removeprefix("whsec_") + "==", validate=False)
    except ValueError:
        secret = b""
    if len(secret) < 24:  # noqa: PLR2004  # bytes, the minimum of Standard Webhooks
        raise ImproperlyConfigured(f"{name} must be whsec_ and base64 of at least 24 random bytes.")
    return value


def database(*, pooled: bool) -> dict[str, Any]:
    """Return Django's settings for DATABASE_URL, a PostgreSQL address. A Unix socket is given as `?host=/folder`.

    Pooled connections are for a web server with many threads. A command or a worker keeps its own connection.
    Raises ImproperlyConfigured if the address is not PostgreSQL.
    """
    url = os.environ.get("DATABASE_URL", "").strip() or "postgresql:///shop"
    if not url.startswith(("postgresql://", "postgres://")):
        raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database: postgresql://user@host/name.")
    try:
        check_url(url)  # the library below reads some mistakes as something else
        parsed: dict[str, Any] = dict(dj_database_url.parse(url, conn_health_checks=True))
    except ConfigError as error:
        raise ImproperlyConfigured(f"DATABASE_URL: {error}.") from None
    except ValueError:  # several hosts, which libpq understands and the library does not
        raise ImproperlyConfigured("DATABASE_URL must name one host: postgresql://user@host/name.") from None
    options = parsed.setdefault("OPTIONS", {})
    if not parsed["HOST"] and "host" in options:
        parsed["HOST"] = options.pop("host")
    if pooled:
        parsed["CONN_MAX_AGE"] = 0
        options["pool"] = {"min_size": 1, "max_size": whole("DATABASE_POOL_SIZE", 20), "timeout": 10}
    else:
        parsed["CONN_MAX_AGE"] = 60
    return parsed
