"""Which addresses messages may be sent to."""

import ipaddress
from urllib.parse import urlsplit

from lapse.engine.errors import ConfigError


def checked_address(url: str, *, insecure_http: bool = False) -> str:
    """Return the address, or raise ConfigError for one that must not be used.

    The address is https, or http to this very machine; `insecure_http` permits http to any host. The address holds no
    password, because every user of the machine can read it on the command line.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError:  # its message may show a part of a password, so it is not repeated
        raise ConfigError("not an address to POST to: its host or its port cannot be read") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(
            "the address to POST to begins with https:// and a host, as https://shop.example/payment/cancel_order/"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigError("the address to POST to has a user or a password in it: calls are signed instead")
    if parts.fragment:
        raise ConfigError("the address to POST to has a '#': the part after it would never be sent")
    if parts.scheme == "http" and not is_loopback(host) and not insecure_http:
        raise ConfigError(
            f"http:// to {host} can be read and changed on its way: use https://, or --insecure-http if that network "
            "is yours alone"
        )
    return url


def is_loopback(host: str) -> bool:
    """Return whether the host is this very machine, without asking a name server."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
