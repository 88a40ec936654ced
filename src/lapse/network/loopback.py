"""Whether an address is on this machine."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether the host is this machine, without a DNS query."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
