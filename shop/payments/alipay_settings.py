"""What the environment says of Alipay. Nothing is checked here but that named files can be read."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

PRODUCTION = "https://openapi.alipay.com/gateway.do"


def read(environment: Mapping[str, str]) -> dict[str, str]:
    """Read the fields of `AlipaySettings`; a missing one is "". Raises ImproperlyConfigured for an unreadable file."""
    public = environment.get("PUBLIC_URL", "").strip().rstrip("/")
    return {
        "app_id": environment.get("ALIPAY_APP_ID", "").strip(),
        "seller_id": environment.get("ALIPAY_SELLER_ID", "").strip(),
        "private_key": _key(environment, "ALIPAY_PRIVATE_KEY"),
        "alipay_public_key": _key(environment, "ALIPAY_PUBLIC_KEY"),
        "gateway_url": environment.get("ALIPAY_GATEWAY_URL", "").strip() or PRODUCTION,
        "notify_url": f"{public}/payment/alipay/notify/" if public else "",
        "return_url": f"{public}/payment/alipay/return/" if public else "",
    }


def origin(url: str) -> str:
    """Give the scheme, host and port, as a content security policy names them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _key(environment: Mapping[str, str], name: str) -> str:
    file = environment.get(f"{name}_FILE", "").strip()
    if not file:
        return environment.get(name, "").strip()
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name}_FILE names a file that cannot be read: {error}") from error
