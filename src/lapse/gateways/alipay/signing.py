"""RSA2, Alipay's signature: SHA256 with RSA over the sorted parameters, in base64."""

import base64
import binascii
from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from lapse.gateways.alipay.keys import PrivateKey, PublicKey

SIGN_TYPE = "RSA2"


def signed_text(
    parameters: Mapping[str, str], *, leave_out: Iterable[str] = ("sign",), keep_empty: bool = False
) -> str:
    """Return the text to sign: each `name=value`, sorted by name, joined by `&`.

    A request's text includes `sign_type`; for a notify and for the return page, leave `sign_type` out too.
    """
    without = set(leave_out)
    return "&".join(
        f"{name}={parameters[name]}"
        for name in sorted(parameters)
        if name not in without and (keep_empty or parameters[name])
    )


def sign(key: PrivateKey, text: str | bytes) -> str:
    """Sign the bytes, or the text encoded as UTF-8, and return the signature in base64."""
    return base64.b64encode(key.sign(_encoded(text), PKCS1v15(), SHA256())).decode()


def is_signed(key: PublicKey, text: str | bytes, signature: str) -> bool:
    """Return whether `signature` is the key owner's signature of the text. For malformed input, return False."""
    try:
        key.verify(base64.b64decode(signature, validate=True), _encoded(text), PKCS1v15(), SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False  # ValueError: non-ASCII letters in the signature, or a lone surrogate in the text
    return True


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
