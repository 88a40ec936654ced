r"""Reads keys and certificates as people paste them, and says what a text is where it is something else.

What stands around the base64 decides nothing: a wrong header, none, literal `\n`, CRLF, a byte order mark, quotes and
blanks are all read. No message shows a part of the text, because the text may be a secret.
"""

import base64
import binascii
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from functools import lru_cache
from pathlib import Path, PurePath
from urllib.parse import unquote

from lapse.engine.errors import ConfigError, MissingLibrary

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key
    from cryptography.x509 import Certificate, load_der_x509_certificate, load_der_x509_csr
except ModuleNotFoundError as error:
    raise MissingLibrary("lapse.gateways.alipay", "alipay") from error

PrivateKey = RSAPrivateKey
PublicKey = RSAPublicKey

LEAST_BITS = 2048
LONGEST_NAME = 48
"""Bytes. The base64 of more bytes than these is no path, if they begin as a key or certificate does."""
_DASHES = "[-‐‑‒–—―−]{2,}"
_BLOCK = re.compile(rf"{_DASHES}\s*BEGIN([A-Z0-9 ]*){_DASHES}(.*?)(?:{_DASHES}\s*END[A-Z0-9 ]*{_DASHES}|\Z)", re.DOTALL)
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060\0"))
_AROUND = " \t\r\n\"'`“”‘’"
_URL_SAFE = str.maketrans("-_", "+/")
_SUFFIXES = {".pem", ".key", ".crt", ".cer", ".csr", ".der", ".txt", ".pfx", ".p12"}
_PATHS = ("/", "./", "../", "~/", "file:")
"""The base64 of a key or certificate begins with M, so none of these can begin one."""
_SEQUENCE, _LONG = 0x30, 0x80
"""Every key and certificate is a DER sequence; from this length byte on, the length stands in bytes of its own."""

_SERIALS = re.compile(r"[0-9a-fA-F]{32}(_[0-9a-fA-F]{32})*")
_LOCKED = "a key with a password (remove the password by `openssl pkey -in KEY -out PLAIN`)"
_KINDS = {RSAPrivateKey: "a private key", RSAPublicKey: "a public key", Certificate: "a certificate"}
_Read = PrivateKey | PublicKey | Certificate


@lru_cache(maxsize=16)  # checking an RSA key takes 0.1 s of CPU time
def read_private_key(text: str, name: str) -> PrivateKey:
    """Return a private key from PEM or base64. Raises ConfigError, which names `name` and says what the text is."""
    key = _first(text, RSAPrivateKey)
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError(
            f"{name} must be an RSA private key, but is {_looks_like(text, key)}: set the app's key, as PEM or base64"
        )
    _check_length(key, name)
    return key


def read_public_key(text: str, name: str) -> PublicKey:
    """Return a public key from PEM or base64. Raises ConfigError, which names `name` and says what the text is."""
    key = _first(text, RSAPublicKey)
    if not isinstance(key, RSAPublicKey):
        raise ConfigError(
            f"{name} must be an RSA public key, but is {_looks_like(text, key)}: set the public key, as PEM or base64"
        )
    _check_length(key, name)
    return key


def read_certificates(text: str, name: str) -> list[Certificate]:
    """Return the certificates of a text, in their order; the first is the one that the file is about.

    A certificate that no RSA signature can use may be unreadable here, such as Alipay's roots with SM2. It is left out.
    Raises ConfigError, which names `name` and says what the text is, if no certificate can be read.
    """
    found = [one for _, der in _blocks(text) if der and isinstance(one := _read(der), Certificate)]
    if not found:
        what = _looks_like(text, _first(text, Certificate))
        raise ConfigError(
            f"{name} must be a certificate, but is {what}: set the content of the .crt file from Alipay's console"
        )
    return found


def read_key_file(path: str | PurePath) -> str:
    """Return a file's key or certificates as text, for the settings; a binary file (DER) as its base64.

    Raises ConfigError for a file that cannot be read, and for a key or certificate in place of the path.
    """
    if any(label or (der and der[0] == _SEQUENCE and len(der) > LONGEST_NAME) for label, der in _blocks(str(path))):
        raise ConfigError("the path of a file is expected, but this is the content of one: set the path of the file")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"the file {path} cannot be read: {error.strerror}") from error
    if content[:1] == bytes([_SEQUENCE]):
        return base64.b64encode(content).decode()
    codec = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(codec).strip()
    except UnicodeDecodeError as error:
        raise ConfigError(f"the file {path} is neither text nor DER: convert it to PEM") from error


def _check_length(key: PrivateKey | PublicKey, name: str) -> None:
    if key.key_size < LEAST_BITS:
        raise ConfigError(
            f"{name} is an RSA key of {key.key_size} bits, but RSA2 needs at least {LEAST_BITS}: "
            "make a new pair with Alipay's key tool, as RSA2, and set its public half in Alipay's console"
        )


def _first(text: str, wanted: type) -> _Read | None:
    """Return the first of the wanted kind, else the first that can be read, else None."""
    read = [one for _, der in _blocks(text) if der and (one := _read(der))]
    return next((one for one in read if isinstance(one, wanted)), read[0] if read else None)


def _blocks(text: str) -> list[tuple[str, bytes | None]]:
    """Return the label and the bytes of each PEM block. A text without a header is one block without a label."""
    clean = text.replace("\\r", "").replace("\\n", "\n").translate(_INVISIBLE).strip(_AROUND)
    found = _BLOCK.findall(clean) or [("", clean)]
    return [(label.strip(), _bytes(body)) for label, body in found]


def _bytes(body: str) -> bytes | None:
    letters = "".join(unquote(body).split()).strip(_AROUND).translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _read(der: bytes) -> _Read | None:
    for load in (_private, load_der_public_key, load_der_x509_certificate):
        try:
            read = load(der)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        if isinstance(read, RSAPrivateKey | RSAPublicKey | Certificate):
            return read
    return None


def _private(der: bytes) -> object:
    return load_der_private_key(der, None)


def _looks_like(text: str, read: _Read | None) -> str:
    """Return what a text is that is not what was wanted, without any part of the text."""
    if read is not None:
        return next(what for kind, what in _KINDS.items() if isinstance(read, kind))
    label, der = _blocks(text)[0]
    clean = text.translate(_INVISIBLE).strip(_AROUND)
    signs = {
        "an empty text": not clean,
        _LOCKED: "ENCRYPTED" in clean,
        "a key for SSH": "OPENSSH" in label or clean.startswith("ssh-"),
        "the path of a file, not the content of the file": PurePath(clean).suffix.lower() in _SUFFIXES
        or clean.startswith(_PATHS),
        "a certificate's serial number": _SERIALS.fullmatch(clean),
        "a text that is not base64": der is None,
    }
    return next((what for what, found in signs.items() if found), "") or _looks_like_der(der or b"")


def _looks_like_der(der: bytes) -> str:
    if len(der) < 2 or der[0] != _SEQUENCE:  # noqa: PLR2004 - a DER value has a tag and a length
        return "base64 of something else"
    size = der[1] & ~_LONG if der[1] & _LONG else 0
    length = int.from_bytes(der[2 : 2 + size], "big") if size else der[1]
    if len(der) < 2 + size + length:
        return f"a text that was cut off: {len(der)} of {2 + size + length} bytes are there"
    if len(der) > 2 + size + length:
        return "a text with more after its end, perhaps two keys in one"
    for what, load in _OTHERS:
        try:
            load(der)
        except UnsupportedAlgorithm:
            pass
        except TypeError:
            return _LOCKED
        except ValueError:
            continue
        return what
    return "a key that is damaged, or of a kind that RSA2 does not use, such as SM2"


_OTHERS = (
    ("a certificate request (.csr)", load_der_x509_csr),
    ("a private key that is not RSA", _private),
    ("a public key that is not RSA", load_der_public_key),
)
