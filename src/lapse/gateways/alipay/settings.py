"""The settings of one app at Alipay."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar
from urllib.parse import urlsplit

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import ConfigError
from lapse.gateways.alipay.certificates import Certificates
from lapse.gateways.alipay.keys import PrivateKey, PublicKey, read_private_key, read_public_key
from lapse.network.loopback import is_loopback

CERTIFICATES = ("app_certificate", "alipay_certificate", "root_certificates")
SANDBOX_APP = "9021"
SELLER = "2088"
LENGTH_OF_NUMBERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipaySettings:
    """The settings of one app at Alipay. Keys and certificates are texts, PEM or base64; addresses are absolute.

    There are two modes. Either `alipay_public_key` is set, or the three certificates are: the app's, Alipay's, and
    Alipay's roots. Alipay recommends certificates.

    `timeout` ends a whole HTTP call: name lookup, connecting, TLS, sending, and all of the answer, however slowly it
    comes. `margin` covers the difference between the shop's clock and Alipay's; see `AlipayGateway.link_ends`. Raises
    ConfigError, which names the wrong field.
    """

    PRODUCTION_URL: ClassVar[str] = "https://openapi.alipay.com/gateway.do"
    MARGIN: ClassVar[timedelta] = timedelta(seconds=2)
    ROUNDING: ClassVar[timedelta] = timedelta(seconds=1)  # a link ends at a whole second, up to this much earlier

    app_id: str
    seller_id: str
    private_key: str = field(repr=False)
    alipay_public_key: str = field(default="", repr=False)
    app_certificate: str = field(default="", repr=False)
    alipay_certificate: str = field(default="", repr=False)
    root_certificates: str = field(default="", repr=False)
    notify_url: str
    return_url: str
    gateway_url: str = PRODUCTION_URL
    timeout: timedelta = timedelta(seconds=5)
    margin: timedelta = MARGIN

    def __post_init__(self) -> None:
        self._check_numbers()
        for name in ("gateway_url", "notify_url", "return_url"):
            url = urlsplit(getattr(self, name))
            if url.scheme not in {"http", "https"} or not url.hostname or url.fragment:
                raise ConfigError(f"{name} must be an absolute http or https address, not {getattr(self, name)!r}")
        self._check_gateway()
        if self.timeout <= timedelta(0):
            raise ConfigError("timeout must be longer than 0")
        if self.margin < timedelta(0):
            raise ConfigError("margin must not be negative")
        private = read_private_key(self.private_key, "private_key")
        given = [name for name in CERTIFICATES if getattr(self, name)]
        if self.alipay_public_key and given:
            raise ConfigError(f"alipay_public_key and {given[0]} are two modes: set the key, or the certificates")
        if given and len(given) < len(CERTIFICATES):
            missing = next(name for name in CERTIFICATES if name not in given)
            raise ConfigError(f"{missing} is missing: the mode of certificates needs {', '.join(CERTIFICATES)}")
        certificates = self.certificates
        if certificates is None:
            if "BEGIN CERTIFICATE" in self.alipay_public_key:
                raise ConfigError(
                    "alipay_public_key is a certificate: set it as alipay_certificate, with app_certificate and "
                    "root_certificates"
                )
            self._check_pair(private, read_public_key(self.alipay_public_key, "alipay_public_key"))
        else:
            now = SYSTEM_CLOCK.now()
            certificates.check(private, app_id=self.app_id, now=now, sandbox=self._host.endswith("alipaydev.com"))

    @property
    def certificates(self) -> Certificates | None:
        """The certificates, or None in the mode of plain keys."""
        if not self.root_certificates:
            return None
        return Certificates.read(app=self.app_certificate, alipay=self.alipay_certificate, roots=self.root_certificates)

    @property
    def is_local(self) -> bool:
        """Return whether the gateway's address is on this machine."""
        return is_loopback(self._host)

    def warnings(self) -> list[str]:
        """Return what will fail later, or cannot work from elsewhere; each is a sentence that names the field."""
        found = []
        if self.certificates is not None:
            found = [
                f"{name} expires on {over:%Y-%m-%d}: renew it in Alipay's console, download it and set it before"
                for name, over in self.certificates.expiring(SYSTEM_CLOCK.now()).items()
            ]
        if not self.is_local and is_loopback(urlsplit(self.notify_url).hostname or ""):
            found.append("notify_url is on this machine, where Alipay cannot send a notify: set the public address")
        return found

    @property
    def _host(self) -> str:
        return (urlsplit(self.gateway_url).hostname or "").lower()

    def _check_numbers(self) -> None:
        for name in ("app_id", "seller_id"):
            value = getattr(self, name)
            if not (value.isascii() and value.isdigit()):
                raise ConfigError(f"{name} must be the number that Alipay assigned, digits only, not {value!r}")
        if self.app_id == self.seller_id or (self.app_id.startswith(SELLER) and len(self.app_id) == LENGTH_OF_NUMBERS):
            raise ConfigError(f"app_id is {self.app_id!r}, the number of a seller: set the app's own number (APPID)")
        if len(self.seller_id) == LENGTH_OF_NUMBERS and not self.seller_id.startswith(SELLER):
            raise ConfigError(f"seller_id is {self.seller_id!r}, but the number of a seller (PID) begins with {SELLER}")

    def _check_gateway(self) -> None:
        alipay = self._host.endswith((".alipay.com", ".alipaydev.com"))
        if alipay and urlsplit(self.gateway_url).scheme != "https":  # answers from before could be sent again
            raise ConfigError(f"gateway_url must begin with https, as {self.PRODUCTION_URL} does")
        if alipay and urlsplit(self.gateway_url).path != "/gateway.do":
            raise ConfigError(f"gateway_url must end with /gateway.do, as {self.PRODUCTION_URL} does")
        if self._host.endswith(".alipay.com") and self.app_id.startswith(SANDBOX_APP):
            raise ConfigError(
                f"app_id {self.app_id} is an app of Alipay's sandbox, but gateway_url is production: set both from the "
                "same page of Alipay's console"
            )

    @staticmethod
    def _check_pair(private: PrivateKey, public: PublicKey) -> None:
        if private.public_key() == public:
            raise ConfigError(
                "alipay_public_key is the public half of your own private_key: set Alipay's key for this app, "
                "支付宝公钥 (not 应用公钥), which Alipay's console shows where the app's public key was uploaded"
            )
