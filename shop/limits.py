"""Rate limits on signing in, signing up, ordering and asking about payments: per account, address and attempt.

The counts are in Django's cache: shared by all web processes if it is a Redis, else each process has its own.
"""

import ipaddress
import logging
from typing import NamedTuple

from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage  # type: ignore[import-untyped]  # it ships no types
from redis.exceptions import RedisError

log = logging.getLogger("shop.limits")


class Limit(NamedTuple):
    """The greatest rate of attempts, such as "10/5m", for each value that is counted."""

    name: str
    rate: str


SIGN_IN = Limit("sign-in by account and address", "10/5m")
SIGN_IN_ANYWHERE = Limit("sign-in by account", "100/5m")
"""Far more than from one address, so that an attacker at one address cannot lock another user out."""
SIGN_IN_FROM = Limit("sign-in by address", "60/m")
SIGN_UP_FROM = Limit("sign-up by address", "30/m")
ORDER = Limit("ordering by buyer", "30/m")
ORDER_FROM = Limit("ordering by address", "300/m")
QUERY = Limit("asking a payment service by attempt", "6/m")


class RateLimited(Exception):
    """A rate limit is exceeded. `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("Too many attempts.")
        self.retry_after = retry_after


def count_sign_in(request: HttpRequest, email: str) -> None:
    """Count an attempt to sign in. Raises RateLimited."""
    _count(request, SIGN_IN_FROM, network_of(request))
    account = email.strip().lower()
    _count(request, SIGN_IN, f"{account} {network_of(request)}")
    _count(request, SIGN_IN_ANYWHERE, account)


def count_sign_up(request: HttpRequest) -> None:
    """Count an attempt to sign up. Raises RateLimited."""
    _count(request, SIGN_UP_FROM, network_of(request))


def count_order(request: HttpRequest, buyer_pk: int) -> None:
    """Count an attempt to place an order. Raises RateLimited."""
    _count(request, ORDER_FROM, network_of(request))
    _count(request, ORDER, str(buyer_pk))


def count_query(request: HttpRequest, reference: str) -> None:
    """Count a question to a payment service about one attempt. Raises RateLimited."""
    _count(request, QUERY, reference)


def network_of(request: HttpRequest) -> str:
    """Return where a request comes from: its IPv4 address, or the /64 of its IPv6 address.

    X-Forwarded-For counts only as far as our own TRUSTED_PROXIES have written it, because any client can send it.
    """
    address = request.META.get("REMOTE_ADDR") or ""
    if settings.TRUSTED_PROXIES:
        hops = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
        if len(hops) >= settings.TRUSTED_PROXIES:
            address = hops[-settings.TRUSTED_PROXIES]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"  # a Unix socket, or a name that a proxy wrote: these share one count
    width = 64 if parsed.version == 6 else 32  # noqa: PLR2004  # the version of the protocol
    return str(ipaddress.ip_network((parsed, width), strict=False).network_address)


def _count(request: HttpRequest, limit: Limit, value: str) -> None:
    if not settings.RATE_LIMITS:
        return
    try:
        usage = get_usage(request, group=limit.name, key=lambda *_: value, rate=limit.rate, increment=True)
    except (OSError, RedisError) as error:
        # The shop goes on selling: passwords are hashed slowly, and the database keeps every other guarantee.
        log.error("the cache does not answer, so rate limits are off: %s", error)  # noqa: TRY400  # expected, no trace
        return
    if usage is not None and usage["should_limit"]:
        log.warning("rate limit exceeded: %s", limit.name)
        raise RateLimited(max(1, int(usage["time_left"])))
