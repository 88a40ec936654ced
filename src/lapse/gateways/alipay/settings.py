"""The settings of one app at Alipay."""

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from typing import ClassVar
from urllib.parse import urlsplit

from lapse.engine.errors import ConfigError
from lapse.gateways.alipay.signing import read_private_key, read_public_key


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipaySettings:
    """The settings of one app at Alipay. Keys are PEM or bare base64; addresses are absolute.

    `timeout` limits one call, from its start to the last byte. `margin` covers the difference between the shop's clock
    and Alipay's; see `AlipayGateway.link_ends`. Raises ConfigError, which names the wrong field.
    """

    PRODUCTION_URL: ClassVar[str] = "https://openapi.alipay.com/gateway.do"

    app_id: str
    seller_id: str
    private_key: str = field(repr=False)
    alipay_public_key: str = field(repr=False)
    notify_url: str
    return_url: str
    gateway_url: str = PRODUCTION_URL
    timeout: timedelta = timedelta(seconds=5)
    margin: timedelta = timedelta(seconds=2)

    def __post_init__(self) -> None:
        for name in ("app_id", "seller_id"):
            value = getattr(self, name)
            if not (value.isascii() and value.isdigit()):
                raise ConfigError(f"{name} must be the number that Alipay assigned, not {value!r}")
        for name in ("gateway_url", "notify_url", "return_url"):
            url = urlsplit(getattr(self, name))
            if url.scheme not in {"http", "https"} or not url.hostname or url.fragment:
                raise ConfigError(f"{name} must be an absolute http or https address, not {getattr(self, name)!r}")
        if self.timeout <= timedelta(0):
            raise ConfigError("timeout must be longer than 0")
        if self.margin < timedelta(0):
            raise ConfigError("margin must not be negative")
        read_private_key(self.private_key, "private_key")
        read_public_key(self.alipay_public_key, "alipay_public_key")

    @property
    def is_local(self) -> bool:
        """Return whether the gateway's address is on this machine."""
        host = urlsplit(self.gateway_url).hostname or ""
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False
