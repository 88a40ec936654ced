"""Reads settings from the environment. A wrong value is an error that names the variable."""

import base64
import os
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url
import django
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


def whole(name: str, default: int, *, least: int = 1, most: int | None = None) -> int:
    """Return a whole number of at least `least`, and at most `most`. Raises ImproperlyConfigured for other values."""
    value = os.environ.get(name, "").strip() or str(default)
    number = int(value) if value.isascii() and value.isdigit() else -1
    if number < least or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ImproperlyConfigured(f"{name} must be a whole number {bounds}, not {value!r}.")
    return number


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


def mail_settings(name: str) -> dict[str, Any]:
    """Return Django's settings for sending mails, in the form of its version; empty if the variable is unset.

    `console` prints each mail. `smtp://user:password@host:587` begins TLS after the greeting, and `smtps://` at once;
    `smtp://` to this machine is not encrypted. Raises ImproperlyConfigured for other values.
    """
    value = os.environ.get(name, "").strip()
    backend, options = "console", dict[str, Any]()
    if not value:
        return {}
    if value != "console":
        try:
            parts = urlsplit(value)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in {"smtp", "smtps"}:  # a password may be in the value: it is not shown
            raise ImproperlyConfigured(f"{name} must be console, or an address like smtp://user:password@host:587.")
        at_once = parts.scheme == "smtps"
        backend, options = "smtp", {"host": host, "port": port or (465 if at_once else 587), "timeout": 10}
        options |= {"username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
        options |= {"use_ssl": at_once, "use_tls": not at_once and host not in {"localhost", "127.0.0.1", "::1"}}
    backend = f"django.core.mail.backends.{backend}.EmailBackend"
    if django.VERSION >= (6, 1):
        return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
    older = {"username": "HOST_USER", "password": "HOST_PASSWORD"}
    older_options = {f"EMAIL_{older.get(option, option.upper())}": value for option, value in options.items()}
    return {"EMAIL_BACKEND": backend, **older_options}


def outbox(*, mails: str, types: Collection[str]) -> dict[str, Any]:
    """Return what receives the shop's messages: the addresses in WEBHOOK_URLS, and the buyers with MAIL_SERVER.

    Raises ImproperlyConfigured if an address has no secret, or if mails could not link to the shop.
    """
    urls, secrets = names("WEBHOOK_URLS"), os.environ.get("WEBHOOK_SECRETS", "").split()
    if urls and not secrets:
        raise ImproperlyConfigured("WEBHOOK_URLS needs WEBHOOK_SECRETS: whsec_ and base64 of at least 24 random bytes.")
    named = [{"name": f"webhook {number}"} if len(urls) > 1 else {} for number in range(1, len(urls) + 1)]
    webhooks = [{"url": url, "secrets": secrets} | name for url, name in zip(urls, named, strict=True)]
    if not os.environ.get("MAIL_SERVER", "").strip():
        return {"webhooks": webhooks}
    if not os.environ.get("PUBLIC_URL", "").strip():
        raise ImproperlyConfigured("MAIL_SERVER needs PUBLIC_URL, because the mails link to the shop.")
    return {"webhooks": webhooks, "mail": {"function": mails, "types": types}}


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
