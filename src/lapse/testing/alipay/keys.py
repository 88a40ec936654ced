"""RSA key pairs, whose public halves a shop and Alipay exchange, and what Alipay signs with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from lapse.gateways.alipay.certificates import serial_of
from lapse.gateways.alipay.keys import PrivateKey, read_certificates, read_private_key
from lapse.gateways.alipay.messages import CERTIFICATE
from lapse.gateways.alipay.signing import sign, signed_text


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both halves as PEM."""

    private: str = field(repr=False)
    public: str


@dataclass(frozen=True, slots=True)
class Signer:
    """What Alipay signs with: a key, and the key's certificate in PEM, "" in the mode of plain keys."""

    key: PrivateKey = field(repr=False)
    certificate: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """The field by which a message names the certificate."""
        if not self.certificate:
            return {}
        return {CERTIFICATE: serial_of(read_certificates(self.certificate, "certificate")[0])}


def new_key_pair() -> KeyPair:
    """Return a new key pair of 2048 bits, as long as Alipay's."""
    return pair_of(
        generate_private_key(public_exponent=65537, key_size=2048)
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )


def pair_of(private: str) -> KeyPair:
    """Return a private key with its public half. Raises ConfigError for a text that is no private key."""
    public = read_private_key(private, "the private key").public_key()
    return KeyPair(private, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def sign_notify(form: Mapping[str, str], key: str | PrivateKey) -> dict[str, str]:
    """Return the fields of a notify, or of the return page, with Alipay's signature over them.

    `key` is Alipay's private key, PEM or bare base64. A test signs a notify of its own with it. The signature is of the
    text in the charset that the form names.
    """
    private = read_private_key(key, "key") if isinstance(key, str) else key
    text = signed_text(form, leave_out=("sign", "sign_type", CERTIFICATE))
    return {**form, "sign": sign(private, text.encode(form.get("charset") or "utf-8"))}
