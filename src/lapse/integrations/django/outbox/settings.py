"""LAPSE_OUTBOX: which endpoints receive the shop's messages, and how long messages are tried and kept."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from lapse.engine.errors import ConfigError
from lapse.integrations.django.outbox.message import checked_type

MAIL = "mail"
"""The name of the endpoint that sends mails."""

MOST_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A receiver of messages. `types` are the types that it wants; None: all of them.

    The name is stored with each message, so an address can change while messages wait.
    """

    name: str
    types: frozenset[str] | None = None

    def wants(self, kind: str) -> bool:
        """Return whether the endpoint receives messages of this type."""
        return self.types is None or kind in self.types


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint(Endpoint):
    """An address that receives signed POST requests. `timeout` is in seconds and bounds a whole call."""

    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    timeout: float = 10.0
    insecure_http: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MailEndpoint(Endpoint):
    """The shop's function that makes a mail of a message, by its dotted path."""

    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """What LAPSE_OUTBOX declares."""

    endpoints: tuple[Endpoint, ...] = ()
    tries: int = 200
    """How often a message is tried before it is buried: with the waits of the outbox, for about three days."""
    keep: timedelta = timedelta(days=30)
    """How long messages that were delivered or given up are kept."""
    concurrency: int = 4
    """How many messages one process sends to one endpoint at once."""

    def that_want(self, kind: str) -> list[str]:
        """Return the names of the endpoints that receive messages of this type."""
        return [endpoint.name for endpoint in self.endpoints if endpoint.wants(kind)]


@cache
def outbox_settings() -> OutboxSettings:
    """Return what LAPSE_OUTBOX declares; without the setting, no endpoint. Raises ConfigError for a wrong setting."""
    declared = getattr(settings, "LAPSE_OUTBOX", None) or {}
    options = _options(declared, "LAPSE_OUTBOX", known={"webhooks", "mail", "tries", "keep", "concurrency"})
    webhooks = options.pop("webhooks", ())
    if isinstance(webhooks, str | Mapping) or not isinstance(webhooks, Iterable):
        raise ConfigError("LAPSE_OUTBOX: 'webhooks' must be a list with a dictionary for each address")
    endpoints: list[Endpoint] = [_webhook(declared) for declared in webhooks]
    if mail := options.pop("mail", None):
        endpoints.append(_mail(mail))
    names = [endpoint.name for endpoint in endpoints]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"LAPSE_OUTBOX: two endpoints are named {name!r}: give each its own 'name'")
    found = OutboxSettings(endpoints=tuple(endpoints), **options)
    for name in ("tries", "concurrency"):
        value = getattr(found, name)
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"LAPSE_OUTBOX: {name!r} must be a whole number of at least 1; got {value!r}")
    if not isinstance(found.keep, timedelta) or found.keep < timedelta(0):
        raise ConfigError(f"LAPSE_OUTBOX: 'keep' must be a timedelta, such as timedelta(days=30); got {found.keep!r}")
    return found


def forget_settings(*, setting: str, **_: object) -> None:
    """Read the setting again after a test has overridden it."""
    if setting == "LAPSE_OUTBOX":
        outbox_settings.cache_clear()


def _webhook(declared: object) -> WebhookEndpoint:
    known = {"name", "url", "secrets", "types", "timeout", "insecure_http"}
    options = _options(declared, "an entry of 'webhooks' in LAPSE_OUTBOX", known=known)
    url, secrets = options.pop("url", ""), options.pop("secrets", ())
    if not isinstance(url, str) or not url:
        raise ConfigError("LAPSE_OUTBOX: each entry of 'webhooks' needs a 'url'")
    name = _name(options.pop("name", None) or _host(url))
    if isinstance(secrets, str) or not all(isinstance(secret, str) for secret in secrets) or not secrets:
        raise ConfigError(
            f"LAPSE_OUTBOX: 'secrets' of {name} must be a list with one secret, or with two while a new "
            "secret replaces an old one"
        )
    timeout = options.get("timeout", 10.0)
    if not isinstance(timeout, int | float) or not 0 < timeout <= 60:  # noqa: PLR2004 - a minute, as the message says
        raise ConfigError(f"LAPSE_OUTBOX: 'timeout' of {name} must be more than 0 and at most 60 seconds")
    types = _types(options.pop("types", None), name)
    return WebhookEndpoint(name=name, url=url, secrets=tuple(secrets), types=types, **options)


def _mail(declared: object) -> MailEndpoint:
    if isinstance(declared, str):
        return MailEndpoint(name=MAIL, function=declared)
    options = _options(declared, "'mail' in LAPSE_OUTBOX", known={"function", "types"})
    function = options.get("function")
    if not isinstance(function, str) or not function:
        raise ConfigError(
            "LAPSE_OUTBOX: 'mail' must be the dotted path of a function, or a dictionary with a 'function'"
        )
    return MailEndpoint(name=MAIL, function=function, types=_types(options.get("types"), MAIL))


def _options(declared: object, where: str, *, known: Collection[str]) -> dict[str, Any]:
    if not isinstance(declared, Mapping):
        raise ConfigError(f"{where} must be a dictionary; got {type(declared).__name__}")
    for name in declared:
        if name not in known:
            raise ConfigError(f"{where} has no option {name!r}; its options are {', '.join(sorted(known))}")
    return dict(declared)


def _types(declared: object, name: str) -> frozenset[str] | None:
    if declared is None:
        return None
    if isinstance(declared, str) or not isinstance(declared, Iterable):
        raise ConfigError(f"LAPSE_OUTBOX: 'types' of {name} must be a list, such as ['order.paid']")
    try:
        found = frozenset(checked_type(kind) for kind in declared)
    except ValueError as error:
        raise ConfigError(f"LAPSE_OUTBOX: 'types' of {name}: {error}") from error
    if not found:
        raise ConfigError(f"LAPSE_OUTBOX: 'types' of {name} is empty; leave it out to send messages of all types")
    return found


def _host(url: str) -> str:
    """Return the host and the port of the address. The rest may contain a secret, and a name is stored and logged."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    except ValueError:
        raise ConfigError("LAPSE_OUTBOX: the host or the port of a 'url' cannot be read") from None


def _name(name: object) -> str:
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MOST_NAME or name == MAIL:
        raise ConfigError(
            f"LAPSE_OUTBOX: a 'name' has 1 to {MOST_NAME} printable characters and is not {MAIL!r}; got {name!r}. "
            "Without a 'name', the host of the 'url' is the name"
        )
    return name
