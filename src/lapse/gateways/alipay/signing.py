"""RSA2, Alipay's signature: SHA256 with RSA over the sorted parameters, in base64."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from functools import lru_cache

from lapse.engine.errors import ConfigError, MissingLibrary

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import (
        load_der_private_key,
        load_der_public_key,
        load_pem_private_key,
        load_pem_public_key,
    )
except ModuleNotFoundError as error:
    raise MissingLibrary("lapse.gateways.alipay", "alipay") from error

PrivateKey = RSAPrivateKey
PublicKey = RSAPublicKey

SIGN_TYPE = "RSA2"
LEAST_BITS = 2048


def signed_text(parameters: Mapping[str, str], *, leave_out: Iterable[str] = ("sign",)) -> str:
    """Return the text to sign: each `name=value`, sorted by name, joined by `&`. Empty values are left out.

    A request's text includes `sign_type`; for a notify and for the return page, leave `sign_type` out too.
    """
    without = set(leave_out)
    return "&".join(
        f"{name}={parameters[name]}" for name in sorted(parameters) if name not in without and parameters[name]
    )


def sign(key: PrivateKey, text: str) -> str:
    """Sign the text, encoded as UTF-8, and return the signature in base64."""
    return base64.b64encode(key.sign(text.encode(), PKCS1v15(), SHA256())).decode()


def is_signed(key: PublicKey, text: str, signature: str) -> bool:
    """Return whether `signature` is the key owner's signature of the text. For malformed input, return False."""
    try:
        key.verify(base64.b64decode(signature, validate=True), text.encode(), PKCS1v15(), SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False  # ValueError: non-ASCII letters in the signature, or a lone surrogate in the text
    return True


@lru_cache(maxsize=16)  # checking an RSA key takes 0.1 s of CPU time
def read_private_key(text: str, name: str) -> PrivateKey:
    """Return a private key from PEM, or the bare base64 of Alipay's key tool. Raises ConfigError, naming `name`."""
    try:
        key = load_pem_private_key(text.encode(), None) if _is_pem(text) else load_der_private_key(_bare(text), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{name} is not a private key: set PEM without a password, or only its base64") from error
    if not isinstance(key, RSAPrivateKey) or key.key_size < LEAST_BITS:
        raise ConfigError(f"{name} must be an RSA key of at least {LEAST_BITS} bits")
    return key


def read_public_key(text: str, name: str) -> PublicKey:
    """Return a public key from PEM, or the bare base64 that Alipay's site shows. Raises ConfigError, naming `name`."""
    try:
        key = load_pem_public_key(text.encode()) if _is_pem(text) else load_der_public_key(_bare(text))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{name} is not a public key: set PEM, or only its base64") from error
    if not isinstance(key, RSAPublicKey) or key.key_size < LEAST_BITS:
        raise ConfigError(f"{name} must be an RSA key of at least {LEAST_BITS} bits")
    return key


def _is_pem(text: str) -> bool:
    return "-----BEGIN" in text


def _bare(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)
