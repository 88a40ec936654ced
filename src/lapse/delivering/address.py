"""Checks the addresses to which messages may be sent."""

from urllib.parse import urlsplit

from lapse.engine.errors import ConfigError
from lapse.engine.visible import visible
from lapse.network.loopback import is_loopback


def checked_address(url: str, *, insecure_http: bool = False) -> str:
    """Return the address. Raises ConfigError for an address that must not be used.

    The address must be https, or http to this machine; `insecure_http` permits http to any host. It must not contain a
    password, because every user of the machine can read the command line.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError:  # the error's message may contain part of a password, so it is not shown
        raise ConfigError("the host or the port of the address to POST to cannot be read") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(
            "the address to POST to must be like https://shop.example/payment/cancel_order/, with https:// and a host"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigError("the address to POST to must not contain a user or a password: calls are signed instead")
    if not url.isprintable() or " " in url:
        raise ConfigError(f"the address to POST to has a space or an unprintable character in it: {visible(url)}")
    if parts.fragment:
        raise ConfigError("the address to POST to has a '#': HTTP does not send the part after it, so remove it")
    if parts.scheme == "http" and not is_loopback(host) and not insecure_http:
        raise ConfigError(
            f"http:// to {visible(host)} can be read and changed by others: use https://, or --insecure-http if you "
            "control that network"
        )
    return url
