"""A certificate authority of the simulator's own: roots, a certificate between, and certificates for both sides."""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.gateways.alipay.keys import PublicKey, read_public_key

A_YEAR = timedelta(days=365)


class Authority:
    """Issues certificates as Alipay's authority does, whose names these have, with "simulator" added.

    `root_certificates` is the file of roots, PEM. As in Alipay's, one of the roots is not RSA.
    """

    def __init__(self) -> None:
        root_key, other_key = _new_key(), generate_ec_key(SECP256R1())
        self._key = _new_key()
        root_name, self._name = _name("R1", "Certification Authority"), _name("Class 2 R1", "Certification Authority")
        root = _certificate(root_name, root_key.public_key(), root_name, root_key, is_authority=True)
        other_name = _name("E1", "Certification Authority")
        other = _certificate(other_name, other_key.public_key(), other_name, other_key, is_authority=True)
        self._between = _certificate(self._name, self._key.public_key(), root_name, root_key, is_authority=True)
        self.root_certificates = f"{_pem(other)}\n{_pem(root)}"

    def issue(
        self, public_key: str, common_name: str, *, begins: datetime | None = None, lasts: timedelta = A_YEAR
    ) -> str:
        """Return a certificate for a public key, PEM, followed by the authority's own as in Alipay's file."""
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "茶杯商店"),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Alipay"),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )
        key = read_public_key(public_key, "public_key")
        leaf = _certificate(subject, key, self._name, self._key, begins=begins, lasts=lasts)
        return f"{_pem(leaf)}\n{_pem(self._between)}"


def _name(common_name: str, unit: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ant Financial simulator"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Ant Financial Certification Authority {common_name} simulator"),
        ]
    )


def _new_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


def _certificate(
    subject: x509.Name,
    key: PublicKey | EllipticCurvePublicKey,
    issuer: x509.Name,
    issuers_key: RSAPrivateKey | EllipticCurvePrivateKey,
    *,
    begins: datetime | None = None,
    lasts: timedelta = 10 * A_YEAR,
    is_authority: bool = False,
) -> x509.Certificate:
    begins = begins or SYSTEM_CLOCK.now() - timedelta(days=1)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + lasts)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .sign(issuers_key, SHA256())
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
