"""What one app at Alipay needs to be told."""

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from lapse.engine.errors import ConfigError
from lapse.gateways.alipay.signing import read_private_key, read_public_key

PRODUCTION = "https://openapi.alipay.com/gateway.do"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipaySettings:
    """What one app at Alipay needs. Keys are PEM or bare base64; addresses are absolute.

    `timeout` bounds one call from its begin to the last byte. `margin` covers the difference between the shop's clock
    and Alipay's; see `lapse.gateways.alipay.gateway`. Raises ConfigError, which names the field.
    """

    app_id: str
    seller_id: str
    private_key: str = field(repr=False)
    alipay_public_key: str = field(repr=False)
    notify_url: str
    return_url: str
    gateway_url: str = PRODUCTION
    timeout: timedelta = timedelta(seconds=5)
    margin: timedelta = timedelta(seconds=2)

    def __post_init__(self) -> None:
        for name in ("app_id", "seller_id"):
            value = getattr(self, name)
            if not (value.isascii() and value.isdigit()):
                raise ConfigError(f"{name} must be the number that Alipay gave, not {value!r}")
        for name in ("gateway_url", "notify_url", "return_url"):
            url = urlsplit(getattr(self, name))
            if url.scheme not in {"http", "https"} or not url.hostname or url.fragment:
                raise ConfigError(f"{name} must be an absolute http or https address, not {getattr(self, name)!r}")
        if self.timeout <= timedelta(0):
            raise ConfigError("timeout must be longer than nothing")
        if self.margin < timedelta(0):
            raise ConfigError("margin must not be negative")
        read_private_key(self.private_key, "private_key")
        read_public_key(self.alipay_public_key, "alipay_public_key")

    @property
    def is_here(self) -> bool:
        """Whether the gateway's address is this machine itself."""
        host = urlsplit(self.gateway_url).hostname or ""
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False
