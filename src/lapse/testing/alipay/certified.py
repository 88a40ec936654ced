"""The simulator in the mode of certificates: the app's, its own, and the next one when Alipay renews its own."""

import base64
from typing import TypedDict

from lapse.gateways.alipay.certificates import Certificates
from lapse.gateways.alipay.keys import read_private_key
from lapse.gateways.alipay.messages import CERTIFICATE
from lapse.testing.alipay.authority import Authority
from lapse.testing.alipay.keys import KeyPair, Signer, new_key_pair, pair_of
from lapse.testing.alipay.trades import Refused


class CertificateSettings(TypedDict, total=False):
    """The fields of `AlipaySettings` in the mode of certificates; none in the other mode."""

    app_certificate: str
    alipay_certificate: str
    root_certificates: str


class Certified:
    """The certificates of one app and of Alipay, from one authority.

    `settings` are the fields of `AlipaySettings`, `requests_fields` those that each call must have. `signer` is what
    Alipay signs with at present.
    """

    def __init__(self, authority: Authority, *, app: str, private_key: str, app_id: str, seller_id: str) -> None:
        self._authority = authority
        self._name = f"支付宝(中国)网络技术有限公司-{seller_id}"
        self._issued: dict[str, str] = {}
        self.signer = self._signer(authority, pair_of(private_key))
        self.settings: CertificateSettings = {
            "app_certificate": authority.issue(app, f"{seller_id}-{app_id}"),
            "alipay_certificate": self.signer.certificate,
            "root_certificates": authority.root_certificates,
        }
        self.requests_fields = Certificates.read(
            app=self.settings["app_certificate"], alipay=self.signer.certificate, roots=authority.root_certificates
        ).requests_fields

    def rotate(self, *, trusted: bool) -> None:
        """Begin to sign with a new key and certificate."""
        self.signer = self._signer(self._authority if trusted else Authority(), new_key_pair())

    def download(self, serial: object) -> dict[str, str]:
        """Return the answer to a download of one of Alipay's certificates. Raises Refused."""
        certificate = self._issued.get(str(serial))
        if certificate is None:
            raise Refused("isv.invalid-parameter", "there is no such certificate")
        return {"alipay_cert_content": base64.b64encode(certificate.encode()).decode()}

    def _signer(self, authority: Authority, pair: KeyPair) -> Signer:
        signer = Signer(read_private_key(pair.private, "private_key"), authority.issue(pair.public, self._name))
        self._issued[signer.fields[CERTIFICATE]] = signer.certificate
        return signer
