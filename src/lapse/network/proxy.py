"""The proxy that the environment names for an address, by HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."""

from importlib.util import find_spec
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from httpcore import URL, Proxy

from lapse.engine.errors import ConfigError
from lapse.network.loopback import is_loopback

SCHEMES = ("http", "https", "socks5", "socks5h")


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy to use; None for none. A proxy may lead out of the local network, but not to this machine.

    Raises ConfigError for a proxy that cannot be used. The message shows no password.
    """
    target = urlsplit(url)
    if is_loopback(target.hostname or "") or proxy_bypass(target.netloc):
        return None
    named = getproxies()
    text = named.get(target.scheme) or named.get("all")
    if not text:
        return None
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        host, port = (parts.hostname or "").encode("ascii"), parts.port
    except ValueError:
        host, port = b"", None
    if parts.scheme not in SCHEMES or not host:
        raise ConfigError(
            f"the environment's proxy for {target.scheme}:// cannot be used: it must be like "
            f"http://proxy.example:3128; NO_PROXY={target.hostname} leaves it out"
        )
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ConfigError(f"the environment's proxy for {target.scheme}:// is {parts.scheme}: pip install socksio")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Proxy(
        URL(scheme=parts.scheme.encode(), host=host, port=port, target=b"/"),
        auth=(user.encode(), password.encode()) if parts.username else None,
    )
