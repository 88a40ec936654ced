"""Keys that cannot be a pair are refused before the first order, and keys are read as people paste them."""

import base64
import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509 import CertificateSigningRequestBuilder, Name

from lapse.engine.errors import ConfigError
from lapse.gateways.alipay import AlipaySettings, read_key_file
from lapse.gateways.alipay.keys import read_certificates, read_private_key, read_public_key
from lapse.testing.alipay import KeyPair
from tests.alipay_keys import ALIPAY, APP, authority

KEY = read_private_key(APP.private, "key")
DER = {
    style: KEY.private_bytes(Encoding.DER, style, NoEncryption())
    for style in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
}
BASE64 = {style: base64.b64encode(der).decode() for style, der in DER.items()}
PKCS8, PKCS1 = BASE64[PrivateFormat.PKCS8], BASE64[PrivateFormat.TraditionalOpenSSL]
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
PUBLIC_PKCS1 = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode()


@pytest.fixture
def right() -> AlipaySettings:
    """Return settings that are right."""
    return AlipaySettings(
        app_id="2021000000000001",
        seller_id="2088000000000001",
        private_key=APP.private,
        alipay_public_key=ALIPAY.public,
        notify_url="https://shop.example/notify/",
        return_url="https://shop.example/return/",
    )


def no_key_is_shown(message: str, *texts: str) -> bool:
    """Return whether no 12 characters of the keys stand in the message."""
    letters = ["".join(text.split()) for text in texts]
    return not any(text[at : at + 12] in message for text in letters for at in range(len(text) - 12))


# --- D1: keys that cannot be a pair ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"alipay_public_key": APP.public}, "alipay_public_key is the public half of your own private_key.*支付宝公钥"),
        ({"alipay_public_key": ALIPAY.private}, "alipay_public_key must be an RSA public key, but is a private key"),
        ({"private_key": APP.public}, "private_key must be an RSA private key, but is a public key"),
        ({"private_key": APP.private, "alipay_public_key": APP.private}, "alipay_public_key .* is a private key"),
        ({"private_key": ALIPAY.public, "alipay_public_key": ALIPAY.public}, "private_key .* is a public key"),
        ({"alipay_public_key": ""}, "alipay_public_key must be an RSA public key, but is an empty text"),
        ({"app_id": "wx12ab"}, "app_id must be the number that Alipay assigned"),
        ({"app_id": "２０２１"}, "app_id must be the number"),
        ({"app_id": "2088000000000001"}, "app_id is '2088000000000001', the number of a seller"),
        ({"seller_id": "2021000000000001"}, "app_id is .* the number of a seller|seller_id is .* begins with 2088"),
        ({"app_id": "9021000100000001"}, "app_id 9021000100000001 is an app of Alipay's sandbox"),
        ({"gateway_url": "https://openapi.alipay.com/"}, "gateway_url must end with /gateway.do"),
        ({"gateway_url": "http://openapi.alipay.com/gateway.do"}, "gateway_url must begin with https"),
    ],
)
def test_d1_keys_that_cannot_be_a_pair(right: AlipaySettings, changes: dict[str, str], said: str) -> None:
    """The app's own key given as Alipay's: the buyer paid, no message was believed. Now one sentence, before."""
    with pytest.raises(ConfigError, match=said) as refused:
        replace(right, **changes)  # type: ignore[arg-type]  # all of these fields are texts
    assert "\n" not in str(refused.value)
    assert no_key_is_shown(str(refused.value), APP.private, APP.public, ALIPAY.private, ALIPAY.public)


def test_d1_short_keys_name_their_length(right: AlipaySettings) -> None:
    """A key made for RSA, 1024 bits, where RSA2 is needed: the error says both lengths and what to make."""
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - refused for that
    private = short.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = short.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for changes in ({"private_key": private}, {"alipay_public_key": public}):
        with pytest.raises(ConfigError, match="is an RSA key of 1024 bits, but RSA2 needs at least 2048: make a new"):
            replace(right, **changes)  # type: ignore[arg-type]  # both fields are texts


def test_d1_an_address_that_alipay_cannot_reach_is_a_warning(right: AlipaySettings) -> None:
    """Notifies to this machine never arrive: it is said, because payments would be found late only."""
    assert right.warnings() == []
    (warning,) = replace(right, notify_url="http://localhost:8000/notify/").warnings()
    assert warning.startswith("notify_url is on this machine")


# --- D3: keys as people paste them ---


def pem(label: str, body: str, width: int = 64) -> str:
    """Return a body under any header."""
    lines = [body[at : at + width] for at in range(0, len(body), width)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


PASTED: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "literal newlines": lambda text: text.replace("\n", "\\n"),
    "literal CRLF": lambda text: text.replace("\n", "\\r\\n"),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "old Mac": lambda text: text.replace("\n", "\r"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "quotes": lambda text: f'"{text.strip()}"',
    "typographic quotes": lambda text: f"“{text.strip()}”",
    "one line": lambda text: text.replace("\n", ""),
    "blanks for newlines": lambda text: text.replace("\n", " "),
    "indented": lambda text: "\n".join(f"    {line}" for line in text.split("\n")),
    "hard blanks": lambda text: text.replace("\n", "\u00a0\n\u3000"),
    "zero-width blanks": lambda text: text.replace("\n", "\u200b\n"),
    "no end": lambda text: text.split("-----END", maxsplit=1)[0],
    "typographic dashes": lambda text: text.replace("-----", "——"),
    "URL-safe": lambda text: text.replace("+", "-").replace("/", "_"),
    "quoted for an address": lambda text: text.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
    "no padding": lambda text: text.replace("=", ""),
    "text around": lambda text: f"Bag Attributes\n  friendlyName: app\n{text}\nfrom Ann\n" if "BEGIN" in text else text,
}


@pytest.mark.parametrize("how", PASTED)
def test_d3_keys_are_read_as_people_paste_them(how: str) -> None:
    """A PKCS#8 body under an RSA header, literal newlines, a byte order mark: refused though readable. Now read."""
    paste = PASTED[how]
    for text in (PKCS8, PKCS1, pem("RSA PRIVATE KEY", PKCS8), pem("PRIVATE KEY", PKCS1)):
        assert read_private_key(paste(text), "private_key").public_key() == KEY.public_key()
    for text in (PUBLIC, PUBLIC_PKCS1, pem("RSA PUBLIC KEY", PUBLIC), pem("PUBLIC KEY", PUBLIC_PKCS1, 4000)):
        assert read_public_key(paste(text), "alipay_public_key") == KEY.public_key()


def test_d3_the_header_decides_nothing() -> None:
    """Any header over any key, also the one of the other half."""
    for label in ("", "KEY", "CERTIFICATE", "PUBLIC KEY"):
        assert read_private_key(pem(label, PKCS8), "private_key").public_key() == KEY.public_key()
        assert read_public_key(pem(label, PUBLIC), "alipay_public_key") == KEY.public_key()


def test_d3_of_several_blocks_the_wanted_one_is_read() -> None:
    """A file with a key and its public half, as some tools write it, serves for both."""
    both = ALIPAY.public + APP.private
    assert read_private_key(both, "private_key").public_key() == KEY.public_key()
    assert read_public_key(APP.private + ALIPAY.public, "key") == read_public_key(ALIPAY.public, "key")


def others() -> dict[str, tuple[str, str]]:
    """Return texts that are no private key, and what the error says that they look like."""
    locked = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")).decode()
    old_locked = KEY.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"s")
    ).decode()
    curve = ec.generate_private_key(ec.SECP256R1())
    request = CertificateSigningRequestBuilder(Name([])).sign(KEY, SHA256()).public_bytes(Encoding.PEM).decode()
    return {
        "nothing": ("  \n", "an empty text"),
        "a path": ("/etc/shop/app_private.pem", "the path of a file"),
        "a path of Windows": ("C:\\keys\\new\\app.txt", "the path of a file"),
        "a path without a suffix": ("/run/secrets/alipay_key", "the path of a file"),
        "a certificate": (authority().issue(APP.public, "shop"), "a certificate"),
        "a request": (request, "a certificate request"),
        "a locked key": (locked, "a key with a password"),
        "an old locked key": (old_locked, "a key with a password"),
        "a locked key without its header": ("".join(locked.split("\n")[1:-2]), "a key with a password"),
        "an EC key": (curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), "not RSA"),
        "SSH": (KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(), "a key for SSH"),
        "a public key of SSH": ("ssh-rsa AAAAB3NzaC1yc2E ann@shop", "a key for SSH"),
        "a serial number": ("687b59193f3f462dd5336e5abf83c5d8", "a certificate's serial number"),
        "cut off": (PKCS8[: len(PKCS8) // 2], "cut off: "),
        "cut off in PEM": (pem("PRIVATE KEY", PKCS8[:800]), "cut off: 600 of "),
        "twice": (base64.b64encode(DER[PrivateFormat.PKCS8] * 2).decode(), "two keys in one"),
        "damaged": (PKCS8[:400] + "A" * 400 + PKCS8[800:], "damaged"),
        "prose": ("the key is in the safe", "not base64"),
        "a word": ("secret12", "base64 of something else"),
        "Chinese": ("密钥", "not base64"),
    }


@pytest.mark.parametrize("what", others())
def test_d3_what_cannot_be_read_says_what_it_looks_like(what: str, caplog: pytest.LogCaptureFixture) -> None:
    """A key that cannot be read said "set PEM", also of PEM. Now one sentence, which shows no part of the key."""
    text, said = others()[what]
    caplog.set_level(logging.DEBUG)
    for read in (read_private_key, read_certificates):
        if read is read_certificates and said == "a certificate":
            continue
        with pytest.raises(ConfigError, match=said) as refused:
            read(text, "the_setting")
        message = str(refused.value)
        assert message.startswith("the_setting must be")
        assert "\n" not in message
        assert no_key_is_shown(message, text, PKCS8)
        assert refused.value.__cause__ is None
    assert not caplog.records


def test_d3_key_files_in_every_encoding(tmp_path: Path, app_keys: KeyPair) -> None:
    """Files that Windows or a key tool has written: UTF-16, UTF-8 with its mark, and DER."""
    key = read_private_key(app_keys.private, "key")
    file = tmp_path / "app.pem"
    for content in (
        app_keys.private.encode("utf-16"),
        app_keys.private.encode("utf-8-sig"),
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    ):
        file.write_bytes(content)
        assert read_private_key(read_key_file(file), "key").public_key() == key.public_key()
    file.write_bytes(b"\xff\x01\x02")
    with pytest.raises(ConfigError, match="neither text nor DER"):
        read_key_file(file)
    with pytest.raises(ConfigError, match=r"nowhere\.pem cannot be read: No such file"):
        read_key_file(tmp_path / "nowhere.pem")


@pytest.mark.parametrize("pasted", ["PEM", "base64", "short"])
def test_d3_a_key_given_as_the_path_of_its_file_is_not_shown(app_keys: KeyPair, pasted: str) -> None:
    """ALIPAY_PRIVATE_KEY_FILE was set to the key itself: the message showed the private key as the missing file."""
    body = "".join(app_keys.private.splitlines()[1:-1])
    text = {"PEM": app_keys.private, "base64": body, "short": body[:100]}[pasted]
    with pytest.raises(ConfigError, match="set the path of the file") as refused:
        read_key_file(text)
    assert body[:20] not in str(refused.value)
    assert body[:20] not in "".join(traceback.format_exception(refused.value)), "nor in a traceback"
