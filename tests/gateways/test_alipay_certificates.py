"""Alipay's mode of certificates: serial numbers, who is trusted, renewal, and what cannot belong together."""

import base64
import logging
import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lapse.engine.errors import ConfigError
from lapse.gateways.alipay import AlipayGateway, AlipayRefused, AlipaySettings, AlipayUnavailable, Flaw, MessageRefused
from lapse.gateways.alipay.certificates import is_rsa, is_trusted, serial_of
from lapse.gateways.alipay.client import DOWNLOAD
from lapse.gateways.alipay.keys import read_certificates, read_private_key
from lapse.gateways.alipay.signers import PAUSE, Signers, UnknownSigner
from lapse.gateways.alipay.signing import sign
from lapse.orders import Attempt, RefundState, Verdict
from lapse.testing.alipay import AlipaySimulator, Authority, Buyer, KeyPair, new_key_pair, sign_notify
from lapse.testing.alipay.gateway import APP_ID, SELLER_ID
from lapse.testing.clock import ManualClock
from tests.gateways.listening import Listener

ALIPAYS_NAME = f"支付宝(中国)网络技术有限公司-{SELLER_ID}"
APPS_NAME = f"{SELLER_ID}-{APP_ID}"
NOW = datetime.now(UTC)
SOON_OVER = NOW - timedelta(days=340)
OVER = NOW - timedelta(days=366)
LONG_OVER = -timedelta(minutes=1)


@pytest.fixture
def alipay(app_keys: KeyPair, alipays_keys: KeyPair, authority: Authority) -> Iterator[AlipaySimulator]:
    """Start a simulator with certificates."""
    with AlipaySimulator(app_keys.public, private_key=alipays_keys.private, authority=authority) as running:
        yield running


@pytest.fixture
def settings(alipay: AlipaySimulator, app_keys: KeyPair, shop: Listener) -> AlipaySettings:
    """Return the settings of a shop in the mode of certificates."""
    return AlipaySettings(
        app_id=alipay.app_id,
        seller_id=alipay.seller_id,
        private_key=app_keys.private,
        **alipay.certificates,
        gateway_url=alipay.gateway_url,
        notify_url=shop.url,
        return_url="http://shop.example/back/",
    )


def paid(gateway: AlipayGateway, number: str) -> str:
    """Pay a new link; return the address to which the buyer comes back."""
    buyer = Buyer(gateway.page_pay_url(number, Decimal("58.00"), "茶杯", datetime.now(UTC) + timedelta(minutes=10)))
    assert buyer.scan()
    back = buyer.pay()
    assert back
    return back


# --- a shop with certificates ---


def test_d4_a_shop_with_certificates_is_paid(gateway: AlipayGateway, shop: Listener) -> None:
    """A shop that Alipay had moved to certificates could not be set up. Now every call and message works."""
    back = paid(gateway, "c1")
    shop.wait_for(1)
    body, content_type = shop.bodies[0]
    assert gateway.read_notify(body, content_type).trade.out_trade_no == "c1"
    assert gateway.read_return(urlsplit(back).query.encode()).out_trade_no == "c1"
    assert gateway.close(Attempt("order", "c1", "alipay", LONG_OVER)).verdict == Verdict.PAID
    assert gateway.refund(Attempt("order", "c1", "alipay"), Decimal("8.00")).state == RefundState.DONE


def test_d4_requests_name_the_certificates(
    gateway: AlipayGateway, settings: AlipaySettings, authority: Authority
) -> None:
    """Each call names the app's certificate and those roots that are RSA, inside of the signature."""
    link = gateway.page_pay_url("c1", Decimal(1), "tea", datetime.now(UTC))
    query = {name: value for name, (value,) in parse_qs(urlsplit(link).query).items()}
    (app, *_) = read_certificates(settings.app_certificate, "app")
    roots = read_certificates(authority.root_certificates, "roots")
    assert [is_rsa(root) for root in roots] == [False, True]
    assert query["app_cert_sn"] == serial_of(app)
    assert query["alipay_root_cert_sn"] == serial_of(roots[1])
    assert "-----" not in link


def test_d4_a_call_with_another_certificate_is_refused(
    settings: AlipaySettings, app_keys: KeyPair, authority: Authority
) -> None:
    """A certificate that the app had before is Alipay's to refuse, and the refusal is shown."""
    other = replace(settings, app_certificate=authority.issue(app_keys.public, APPS_NAME))
    with AlipayGateway(other) as gateway, pytest.raises(AlipayRefused, match="app-cert-sn"):
        gateway.trade("c1")


# --- serial numbers ---


def test_d4_serial_numbers_as_alipay_computes_them() -> None:
    """MD5 of the issuer, most specific name first, and the decimal serial number, with its zeros in front."""
    key = read_private_key(new_key_pair().private, "key")
    issuer = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ant Financial"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Certification Authority"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Ant Financial Certification Authority R1"),
        ]
    )
    certificate = (
        x509.CertificateBuilder(issuer, issuer, key.public_key(), 2292228364100439313, NOW, NOW + timedelta(1))
    ).sign(key, SHA256())
    assert serial_of(certificate) == "687b59193f3f462dd5336e5abf83c5d8"  # Alipay's own root has this name and number


def test_d4_roots_that_cannot_be_read_are_left_out(authority: Authority) -> None:
    """Alipay's file of roots has certificates with SM2, and one that strict readers refuse: the others count."""
    (_, root) = read_certificates(authority.root_certificates, "roots")
    broken = base64.b64encode(b"\x30\x03\x02\x01\x05").decode()
    text = f"-----BEGIN CERTIFICATE-----\n{broken}\n-----END CERTIFICATE-----\r\n\r\n{authority.root_certificates}"
    for pasted in (text, text.replace("\n", "\\n"), f'"{text}"', "\ufeff" + text):
        assert [one for one in read_certificates(pasted, "roots") if is_rsa(one)] == [root]


# --- what cannot belong together ---


def wrong(app: KeyPair, alipay: KeyPair, authority: Authority) -> dict[str, tuple[dict[str, str], str]]:
    """Return changes of right settings, and what the error says."""
    issue = authority.issue
    stranger = Authority()
    unsigned = x509.CertificateSigningRequestBuilder(x509.Name([]))
    request = unsigned.sign(read_private_key(app.private, "key"), SHA256()).public_bytes(Encoding.PEM).decode()
    return {
        "no app certificate": ({"app_certificate": ""}, "app_certificate is missing: the mode of certificates needs"),
        "no roots": ({"root_certificates": ""}, "root_certificates is missing"),
        "both modes": ({"alipay_public_key": alipay.public}, "alipay_public_key and app_certificate are two modes"),
        "swapped": (
            {"alipay_certificate": issue(app.public, APPS_NAME)},
            "alipay_certificate is an app's certificate",
        ),
        "another app's": (
            {"alipay_certificate": issue(alipay.public, f"{SELLER_ID}-2021000000000009")},
            "alipay_certificate is an app's certificate",
        ),
        "the roots": (
            {"alipay_certificate": authority.root_certificates},
            "alipay_certificate has only certificates of authorities",
        ),
        "no root": (
            {"root_certificates": issue(alipay.public, ALIPAYS_NAME)},
            "root_certificates has a certificate that is not a root",
        ),
        "a certificate for Alipay's key": (
            {
                "alipay_public_key": issue(alipay.public, ALIPAYS_NAME),
                "app_certificate": "",
                "alipay_certificate": "",
                "root_certificates": "",
            },
            "alipay_public_key is a certificate: set it as alipay_certificate",
        ),
        "another key": (
            {"app_certificate": issue(alipay.public, APPS_NAME)},
            "app_certificate does not belong to private_key",
        ),
        "another app": (
            {"app_certificate": issue(app.public, f"{SELLER_ID}-2021000000000009")},
            "app_certificate is for app 2021000000000009, not for app_id",
        ),
        "foreign roots": (
            {"root_certificates": stranger.root_certificates},
            "alipay_certificate is not signed by any of root_certificates",
        ),
        "a foreign certificate": (
            {"alipay_certificate": stranger.issue(alipay.public, ALIPAYS_NAME)},
            "alipay_certificate is not signed by any of root_certificates",
        ),
        "expired": (
            {"alipay_certificate": issue(alipay.public, ALIPAYS_NAME, begins=OVER)},
            "alipay_certificate has expired on [0-9-]{10}: renew it",
        ),
        "the app's expired": (
            {"app_certificate": issue(app.public, APPS_NAME, begins=OVER)},
            "app_certificate has expired",
        ),
        "not yet": (
            {"alipay_certificate": issue(alipay.public, ALIPAYS_NAME, begins=NOW + timedelta(days=2))},
            "alipay_certificate is valid from",
        ),
        "a key for a certificate": (
            {"app_certificate": app.public},
            "app_certificate must be a certificate, but is a pub",
        ),
        "a request": ({"app_certificate": request}, "app_certificate must be .* is a certificate request"),
        "a private key": ({"alipay_certificate": app.private}, "alipay_certificate must be .* is a private key"),
        "a path": ({"root_certificates": "/etc/alipayRootCert.crt"}, "root_certificates must be .* the path of a file"),
        "a certificate for the key": (
            {"private_key": issue(app.public, APPS_NAME)},
            "private_key must be an RSA private key, but is a certificate",
        ),
        "only others' roots": (
            {"root_certificates": authority.root_certificates.split("\n\n", maxsplit=1)[0]},
            "root_certificates has no certificate with an RSA signature",
        ),
    }


def test_d4_certificates_that_cannot_belong_together(
    settings: AlipaySettings, app_keys: KeyPair, alipays_keys: KeyPair, authority: Authority
) -> None:
    """Each mistake is one sentence that names the setting and says what to do, before the first order."""
    for case, (changes, said) in wrong(app_keys, alipays_keys, authority).items():
        with pytest.raises(ConfigError, match=said) as refused:
            replace(settings, **changes)  # type: ignore[arg-type]  # all of these fields are texts
        assert "\n" not in str(refused.value), case
        assert "-----" not in str(refused.value), case


def test_d4_the_sandbox_need_not_be_one_chain(settings: AlipaySettings) -> None:
    """In Alipay's sandbox, the files of the console are not always one chain; there the roots are not checked."""
    sandbox = "https://openapi-sandbox.dl.alipaydev.com/gateway.do"
    assert replace(settings, gateway_url=sandbox, root_certificates=Authority().root_certificates)


def test_d4_an_expiry_within_30_days_is_a_warning(
    settings: AlipaySettings,
    app_keys: KeyPair,
    alipays_keys: KeyPair,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A certificate that ends soon is said early, by its setting and its day."""
    assert settings.warnings() == []
    soon = replace(
        settings,
        app_certificate=authority.issue(app_keys.public, APPS_NAME, begins=SOON_OVER),
        alipay_certificate=authority.issue(alipays_keys.public, ALIPAYS_NAME, begins=SOON_OVER),
    )
    day = (NOW + timedelta(days=25)).strftime("%Y-%m-%d")
    assert [warning[: len(warning.split(":")[0])] for warning in soon.warnings()] == [
        f"app_certificate expires on {day}",
        f"alipay_certificate expires on {day}",
    ]
    AlipayGateway(soon).__exit__()
    assert [record.getMessage() for record in caplog.records] == soon.warnings()


def test_d4_the_order_of_alipays_file_does_not_matter(
    settings: AlipaySettings, alipays_keys: KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    """The authority's certificate before Alipay's own, as a file put together by hand has it; nothing is warned of."""
    own, between = settings.alipay_certificate.strip().split("\n\n")
    with AlipayGateway(replace(settings, alipay_certificate=f"{between}\n{own}")) as gateway:
        form = sign_notify({"app_id": "1"}, alipays_keys.private)
        with pytest.raises(MessageRefused, match="for app '1'"):
            gateway.read_notify(urlencode(form).encode())
    assert not caplog.records


def test_d4_a_merchants_certificate_issues_nothing(authority: Authority, app_keys: KeyPair) -> None:
    """Any merchant has a certificate from the same roots: it is no link in a chain."""
    merchant = read_certificates(authority.issue(app_keys.public, APPS_NAME), "merchant")
    roots = read_certificates(authority.root_certificates, "roots")
    key = read_private_key(app_keys.private, "key")
    forged = x509.CertificateBuilder(
        merchant[0].subject, merchant[0].subject, key.public_key(), 7, NOW - timedelta(1), NOW + timedelta(9)
    ).sign(key, SHA256())
    assert is_trusted(merchant, roots, NOW)
    assert not is_trusted(merchant[:1], roots, NOW)
    assert not is_trusted([forged, *merchant], roots, NOW)
    assert not is_trusted(merchant, roots, NOW + timedelta(days=366))


# --- Alipay renews its certificate ---


def test_d4_alipay_renews_its_certificate(
    gateway: AlipayGateway, alipay: AlipaySimulator, shop: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    """A new certificate is downloaded and verified by the roots; then answers, notifies and returns under it count."""
    paid(gateway, "before")
    shop.wait_for(1)
    alipay.rotate()
    assert gateway.close(Attempt("order", "before", "alipay", LONG_OVER)).verdict == Verdict.PAID
    back = paid(gateway, "after")
    shop.wait_for(2)
    for body, content_type in shop.bodies:  # under the old certificate and under the new one
        assert gateway.read_notify(body, content_type).trade.status.paid
    assert gateway.read_return(urlsplit(back).query.encode()).out_trade_no == "after"
    (warned,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "Alipay signs with a new certificate" in warned
    assert "set it as alipay_certificate" in warned


def test_d4_a_notify_may_be_the_first_under_a_new_certificate(
    gateway: AlipayGateway, alipay: AlipaySimulator, shop: Listener
) -> None:
    """A web process that only receives notifies learns the new certificate by itself."""
    alipay.rotate()
    paid(gateway, "first")
    shop.wait_for(1)
    assert gateway.read_notify(*shop.bodies[0]).trade.status.paid


def test_d4_a_notify_need_not_name_the_new_certificate(
    gateway: AlipayGateway, alipay: AlipaySimulator, shop: Listener
) -> None:
    """A notify that names no certificate is believed under a new one too: the gateway asks Alipay which it is."""
    alipay.faults(unnamed=True)
    alipay.rotate()
    paid(gateway, "unnamed")
    shop.wait_for(1)
    body, content_type = shop.bodies[0]
    assert b"alipay_cert_sn" not in body
    assert gateway.read_notify(body, content_type).trade.status.paid
    forged = body.replace(b"58.00", b"0.01")
    for _ in range(3):
        with pytest.raises(MessageRefused, match="not signed"):
            gateway.read_notify(forged, content_type)


def test_d4_strangers_cannot_keep_the_gateway_from_a_new_certificate(
    gateway: AlipayGateway, alipay: AlipaySimulator, shop: Listener
) -> None:
    """A notify that named a certificate that does not exist stopped all downloads, so no order could be closed."""
    paid(gateway, "p1")
    shop.wait_for(1)
    alipay.rotate()
    paid(gateway, "p2")
    shop.wait_for(2)

    def flood() -> None:
        serial = secrets.token_hex(16)
        with pytest.raises(MessageRefused, match=f"certificate '{serial}' of Alipay is not known"):
            gateway.read_notify(urlencode({"sign": "AA==", "alipay_cert_sn": serial}).encode())

    flood()
    assert gateway.close(Attempt("order", "p1", "alipay", LONG_OVER)).verdict == Verdict.PAID
    flood()
    assert gateway.read_notify(*shop.bodies[1]).trade.status.paid


def test_d4_an_untrusted_new_certificate_is_refused(
    gateway: AlipayGateway, alipay: AlipaySimulator, shop: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate that the roots do not vouch for decides nothing, and the message says what to do."""
    paid(gateway, "p1")
    shop.wait_for(1)
    alipay.rotate(trusted=False)
    with pytest.raises(AlipayUnavailable, match="none of root_certificates has signed it"):
        gateway.trade("p1")
    assert gateway.close(Attempt("order", "p1", "alipay", LONG_OVER)).verdict == Verdict.UNKNOWN
    assert "is not known" in caplog.text
    paid(gateway, "p2")
    shop.wait_for(2)
    with pytest.raises(MessageRefused, match="is not known") as refused:
        gateway.read_notify(*shop.bodies[-1])
    assert refused.value.flaw == Flaw.SIGNATURE


def test_d4_a_merchant_cannot_sign_for_alipay(
    gateway: AlipayGateway,
    alipay: AlipaySimulator,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another merchant has a certificate from the same roots, and Alipay would hand it out: it is not Alipay's."""
    merchant = new_key_pair()
    certificate = authority.issue(merchant.public, "2088000000000009-2021000000000009")
    serial = serial_of(read_certificates(certificate, "merchant")[0])
    content = base64.b64encode(certificate.encode()).decode()
    download = (
        f'{{"alipay_open_app_alipaycert_download_response":{{"code":"10000","alipay_cert_content":"{content}"}}}}'
    )
    body = '{"code":"10000"}'
    signature = sign(read_private_key(merchant.private, "merchant"), body)
    query = f'{{"alipay_trade_query_response":{body},"alipay_cert_sn":"{serial}","sign":"{signature}"}}'
    monkeypatch.setattr(
        gateway._client, "_send", lambda method, _: ((download if method == DOWNLOAD else query).encode(), "")
    )
    form = {
        "app_id": alipay.app_id,
        "seller_id": alipay.seller_id,
        "out_trade_no": "n1",
        "trade_no": "t1",
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "58.00",
        "alipay_cert_sn": serial,
    }
    with pytest.raises(MessageRefused, match="is not known"):
        gateway.read_notify(urlencode(sign_notify(form, merchant.private)).encode())
    assert "is not Alipay's for this seller" in caplog.text
    with pytest.raises(AlipayUnavailable, match="is not known"):
        gateway.trade("n1")


@pytest.mark.parametrize("serial", ["x", "../../etc", "0" * 31, "A" * 5_000, "茶"])
def test_d4_a_stranger_makes_no_call_with_nonsense(
    gateway: AlipayGateway, alipays_keys: KeyPair, monkeypatch: pytest.MonkeyPatch, serial: str
) -> None:
    """A notify may name anything as its certificate: what cannot be a serial number is not asked for."""
    monkeypatch.setattr(gateway._client, "_send", lambda *_: pytest.fail("a call was made"))
    form = sign_notify({"alipay_cert_sn": serial}, alipays_keys.private)
    with pytest.raises(MessageRefused) as refused:
        gateway.read_notify(urlencode(form).encode())
    assert len(str(refused.value)) < 200


def test_d4_strangers_cause_few_calls() -> None:
    """A stranger's notify downloads nothing, and Alipay is asked at most once in ten seconds."""
    clock = ManualClock(NOW)
    calls: list[str] = []

    def download(serial: str) -> None:
        calls.append(serial)
        raise ConfigError("no")

    keys = new_key_pair()
    known, unknown, other = (letter * 32 for letter in "abc")
    key = read_private_key(keys.private, "key").public_key()
    ask = partial(calls.append, "asked")
    signers = Signers({known: key}, download, ask, clock=clock)  # type: ignore[arg-type]  # it never returns
    signature = sign_notify({"a": "1"}, keys.private)["sign"]
    for number in range(5):
        with pytest.raises(UnknownSigner):
            signers.have_signed_message((b"a=1",), signature, f"{number:032x}")
        assert not signers.have_signed_message((b"a=2",), signature, "")
        assert not signers.have_signed_message((b"a=2",), signature, known)
        assert signers.have_signed_message((b"a=1",), signature, known)
    assert calls == ["asked"]
    for serial in (unknown, other):
        with pytest.raises(UnknownSigner):
            signers.have_signed_answer((b"a=1",), signature, serial)
        assert signers.have_signed_answer((b"a=1",), signature, known)
    assert calls == ["asked", unknown]
    for have_signed in (signers.have_signed_message, signers.have_signed_answer):
        assert not have_signed((b"a=1",), "", other)
    clock.advance(timedelta(seconds=PAUSE))
    with pytest.raises(UnknownSigner):
        signers.have_signed_answer((b"a=1",), signature, other)
    with pytest.raises(UnknownSigner):
        signers.have_signed_message((b"a=1",), signature, other)
    assert calls == ["asked", unknown, other, "asked"]


def test_d4_strangers_do_not_wait_for_alipay() -> None:
    """While one message waits for Alipay's answer, others that cannot be verified are refused at once."""
    asked, answered = threading.Event(), threading.Event()

    def ask() -> None:
        asked.set()
        answered.wait(30)

    signers = Signers({}, lambda _: pytest.fail("a download"), ask)
    first = threading.Thread(target=signers.have_signed_message, args=((b"a=1",), "AA==", ""))
    first.start()
    assert asked.wait(30)
    second = threading.Thread(target=signers.have_signed_message, args=((b"a=1",), "AA==", ""), daemon=True)
    second.start()
    second.join(5)
    waits = second.is_alive()
    answered.set()
    first.join(30)
    assert not waits


# --- the simulator as a program ---


def test_d4_the_program_issues_certificates(tmp_path: Path, app_keys: KeyPair) -> None:
    """The files have Alipay's names, and a shop can be set up with them."""
    from lapse.testing.alipay.__main__ import _store  # noqa: PLC0415 - the program is not imported by others
    from lapse.testing.alipay.certified import Certified  # noqa: PLC0415 - as above

    identity = {"app_id": APP_ID, "seller_id": SELLER_ID}
    certified = Certified(Authority(), app=app_keys.public, private_key=new_key_pair().private, **identity)
    _store(certified, tmp_path / "new", APP_ID)
    found = {file.name: file.read_text() for file in (tmp_path / "new").iterdir()}
    assert set(found) == {f"appCertPublicKey_{APP_ID}.crt", "alipayCertPublicKey_RSA2.crt", "alipayRootCert.crt"}
    assert AlipaySettings(
        app_id=APP_ID,
        seller_id=SELLER_ID,
        private_key=app_keys.private,
        app_certificate=found[f"appCertPublicKey_{APP_ID}.crt"],
        alipay_certificate=found["alipayCertPublicKey_RSA2.crt"],
        root_certificates=found["alipayRootCert.crt"],
        notify_url="https://shop.example/n/",
        return_url="https://shop.example/r/",
        gateway_url="http://127.0.0.1:8100/gateway.do",
    )
