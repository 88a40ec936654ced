"""The mode of certificates: the app's, Alipay's and Alipay's roots, their serial numbers, and who is trusted.

The serial numbers are Alipay's own: the MD5 of the issuer, most specific name first, and the decimal serial number. Of
the roots only those count that are signed by RSA; Alipay's file of roots has others.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import BasicConstraints, Certificate, ExtensionNotFound
from cryptography.x509.oid import NameOID

from lapse.engine.errors import ConfigError
from lapse.gateways.alipay.keys import PrivateKey, PublicKey, read_certificates

RSA_SIGNATURES = "1.2.840.113549.1.1."
SOON = timedelta(days=30)
LONGEST_CHAIN = 8
_APP_NAME = re.compile(r"[0-9]+-([0-9]{16})")
"""The app's certificate is issued to `<seller>-<app>`."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """The certificates of one app. `alipay` is Alipay's own, followed by those between it and the roots."""

    app: Certificate
    alipay: Sequence[Certificate]
    roots: Sequence[Certificate]

    @classmethod
    def read(cls, *, app: str, alipay: str, roots: str) -> Self:
        """Return the certificates of three texts. Raises ConfigError, which names the setting."""
        found = [one for one in read_certificates(roots, "root_certificates") if is_rsa(one)]
        if not found:
            raise ConfigError("root_certificates has no certificate with an RSA signature: download alipayRootCert.crt")
        if any(root.issuer != root.subject for root in found):
            raise ConfigError("root_certificates has a certificate that is not a root: set alipayRootCert.crt alone")
        (app_certificate, *_) = read_certificates(app, "app_certificate")
        # Alipay's own stands first in its file; a file that was put together by hand may have another order.
        chain = sorted(read_certificates(alipay, "alipay_certificate"), key=_may_issue)
        if _may_issue(chain[0]):
            raise ConfigError(
                "alipay_certificate has only certificates of authorities: set Alipay's, alipayCertPublicKey_RSA2.crt"
            )
        return cls(app_certificate, tuple(chain), tuple(found))

    @property
    def requests_fields(self) -> dict[str, str]:
        """The fields by which a request names the app's certificate and the roots."""
        return {"app_cert_sn": serial_of(self.app), "alipay_root_cert_sn": "_".join(map(serial_of, self.roots))}

    def check(self, private_key: PrivateKey, *, app_id: str, now: datetime, sandbox: bool) -> None:
        """Raise ConfigError, which names the wrong setting, for certificates that cannot belong together."""
        own = private_key.public_key()
        alipay = self.alipay[0]
        if rsa_key(alipay, "alipay_certificate") == own or _APP_NAME.fullmatch(common_name(alipay)):
            raise ConfigError(
                "alipay_certificate is an app's certificate: set Alipay's, alipayCertPublicKey_RSA2.crt, "
                "which Alipay's console offers beside it"
            )
        if rsa_key(self.app, "app_certificate") != own:
            raise ConfigError(
                "app_certificate does not belong to private_key: set the app's certificate that was made from the "
                "request (.csr) of this key, appCertPublicKey_….crt in Alipay's console"
            )
        name = _APP_NAME.fullmatch(common_name(self.app))
        if name and name[1] != app_id:
            raise ConfigError(f"app_certificate is for app {name[1]}, not for app_id {app_id}")
        for setting, certificate in {"app_certificate": self.app, "alipay_certificate": alipay}.items():
            if (over := certificate.not_valid_after_utc) <= now:
                raise ConfigError(
                    f"{setting} has expired on {over:%Y-%m-%d}: renew it in Alipay's console and download it again"
                )
            if (begins := certificate.not_valid_before_utc) > now:
                raise ConfigError(f"{setting} is valid from {begins:%Y-%m-%d} on: look at this machine's clock")
        # In the sandbox, the files of Alipay's own console are not always one chain.
        if not sandbox and not is_trusted(self.alipay, self.roots, now):
            raise ConfigError(
                "alipay_certificate is not signed by any of root_certificates: download both again from Alipay's "
                "console, and do not mix the sandbox with production"
            )

    def expiring(self, now: datetime) -> dict[str, datetime]:
        """Return when each certificate expires that expires within 30 days, by the name of its setting."""
        both = {"app_certificate": self.app, "alipay_certificate": self.alipay[0]}
        return {name: one.not_valid_after_utc for name, one in both.items() if one.not_valid_after_utc - now < SOON}

    def key_of_successor(self, chain: Sequence[Certificate], serial: str, now: datetime) -> PublicKey:
        """Return the key of Alipay's next certificate, after it is verified. Raises ConfigError with the reason.

        The name must stay the same. Otherwise any merchant's certificate would do, because the same roots sign it.
        """
        if serial_of(chain[0]) != serial:
            raise ConfigError("Alipay's console offers another certificate under that number")
        if common_name(chain[0]) != common_name(self.alipay[0]):
            raise ConfigError("the certificate is not Alipay's for this seller")
        if not is_trusted([*chain, *self.alipay[1:]], self.roots, now):
            raise ConfigError("the certificate has expired, or none of root_certificates has signed it")
        return rsa_key(chain[0], "the certificate")


def serial_of(certificate: Certificate) -> str:
    """Return the serial number by which Alipay names a certificate, 32 hexadecimal digits."""
    text = f"{certificate.issuer.rfc4514_string()}{certificate.serial_number}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def common_name(certificate: Certificate) -> str:
    """Return the common name of the certificate's owner, or ""."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def is_rsa(certificate: Certificate) -> bool:
    """Return whether an RSA key has signed the certificate."""
    return certificate.signature_algorithm_oid.dotted_string.startswith(RSA_SIGNATURES)


def rsa_key(certificate: Certificate, name: str) -> PublicKey:
    """Return the certificate's key. Raises ConfigError, which names `name`, for a key that is not RSA."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None  # SM2
    if not isinstance(key, RSAPublicKey):
        raise ConfigError(f"{name} has a key that is not RSA: download the one for RSA2")
    return key


def is_trusted(chain: Sequence[Certificate], roots: Sequence[Certificate], now: datetime) -> bool:
    """Return whether a path leads from the first certificate over the others to a root, each valid at `now`."""
    path = [chain[0]]
    while len(path) <= LONGEST_CHAIN:
        if any(_has_issued(root, path[-1]) for root in roots):
            authorities = path[1:]
            return all(map(_may_issue, authorities)) and all(_is_valid(one, now) for one in path)
        issuer = next((one for one in chain[1:] if one not in path and _has_issued(one, path[-1])), None)
        if issuer is None:
            return False
        path.append(issuer)
    return False


def _has_issued(issuer: Certificate, certificate: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _may_issue(certificate: Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except (ExtensionNotFound, ValueError):
        return False


def _is_valid(certificate: Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
