"""A certificate for localhost and 127.0.0.1 that signs itself, for servers that tests reach by TLS."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class Certificate:
    """Two files in PEM."""

    file: Path
    key: Path


def sign_for_localhost(folder: Path) -> Certificate:
    """Return a certificate that is valid today, with its key."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(secret, hashes.SHA256())
    )
    made.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form, secrecy = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    made.key.write_bytes(secret.private_bytes(serialization.Encoding.PEM, form, secrecy))
    return made
