"""RSA key pairs, such as a shop and Alipay exchange the public halves of."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from lapse.gateways.alipay.signing import read_private_key


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both halves as PEM."""

    private: str = field(repr=False)
    public: str


def new_key_pair() -> KeyPair:
    """Make one of 2048 bits, as Alipay's are."""
    return pair_of(
        generate_private_key(public_exponent=65537, key_size=2048)
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )


def pair_of(private: str) -> KeyPair:
    """Add the public half to a private key. Raises ConfigError where it is none."""
    public = read_private_key(private, "the private key").public_key()
    return KeyPair(private, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
