"""RSA2: a known answer, texts that are no signature, and answers verified over their exact text."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from lapse.engine.errors import ConfigError
from lapse.gateways.alipay import AlipayUnavailable
from lapse.gateways.alipay.answers import read_answer
from lapse.gateways.alipay.keys import read_private_key, read_public_key
from lapse.gateways.alipay.signers import Signers
from lapse.gateways.alipay.signing import is_signed, sign, signed_text
from lapse.testing.alipay import KeyPair

FIRST = int(
    "ef7147093cbc3f50a952a5fc80b249deb10d2c07a88a59ed8e96e0b1729e71f99bad4ded22d79cccb87473942c8ccd623e3d7b61c71017e8"
    "b17b6e00c2d962bc7c0e9d5c7275fa1730755aa5f726cb7db1d53d5c54c85394bf1de4ddf924cd918ba1d165f84884cdbd9b5819c5920cf6"
    "64df1972118b80475865ce7137bff805",
    16,
)
SECOND = int(
    "cf6fe66f7da03274a10ff2094017954e1cf531ff66ce7aaf7212bb75b322f010c5814f6c375b99c0827439f197a73f2f2f4d8614849d3f72"
    "72edb590764ff04547b1efa4cf92b8c1f1dac04615051f7c9ce72a2ff8d384b8c390c08ab25ee8184b395859f304e8ecc663567cb298b619"
    "19b31ce4d3ddc7d25ea4c14550fd760b",
    16,
)
TEXT = "a=1&b=茶"
BY_OPENSSL = (
    "KMU5VoWofFKXt4LfwO5r5vzH7k/cXmgkqZRrLsvQXQgf49PvBAxTQic1PSefFrI3194dKIRd8YDzl/US81ECBEwygi0V8+uv6fCX0AxmcpllCNeA"
    "aQTjHdFFAU45BlFSln65K4UI3XzgrvNxjAxT1n9/I9fl+lgrcVi7E9juf3LxhC6fcpgmK1nwlvaXvg67l4W5I4HvrtifdYhIloyKfJ5flG9wEstB"
    "7DCv8UIrLTML19mgO3a2Vv1ekticSLZxcaOa6gIGyPOEs5CtlwAzoOaPbwsixNyf/M7lmvK4lte4WJOjGmYGqz88wZTiqncOKMRtF6L1M0wSSpBl"
    "GqLVKQ=="
)
"""The signature of TEXT by `openssl dgst -sha256 -sign` with the key of the two primes."""


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """Return the key of these tests, made of its two primes."""
    public = 65537
    private = pow(public, -1, (FIRST - 1) * (SECOND - 1))
    return rsa.RSAPrivateNumbers(
        FIRST,
        SECOND,
        private,
        rsa.rsa_crt_dmp1(private, FIRST),
        rsa.rsa_crt_dmq1(private, SECOND),
        rsa.rsa_crt_iqmp(FIRST, SECOND),
        rsa.RSAPublicNumbers(public, FIRST * SECOND),
    ).private_key()


def test_the_known_answer(key: rsa.RSAPrivateKey) -> None:
    """The signature is, letter for letter, the one that OpenSSL makes."""
    assert sign(key, TEXT) == BY_OPENSSL
    assert is_signed(key.public_key(), TEXT, BY_OPENSSL)


@pytest.mark.parametrize(
    "garbage",
    ["", "=", "not base64!", "茶", "\udcff", BY_OPENSSL[:-4], BY_OPENSSL + "\n", "AAAA" + BY_OPENSSL[4:], "AA==", "\0"],
)
def test_garbage_is_refused(key: rsa.RSAPrivateKey, garbage: str) -> None:
    """Garbage in `sign` is refused, and never an error."""
    assert not is_signed(key.public_key(), TEXT, garbage)


@pytest.mark.parametrize("text", ["", "a=1&b=茶 ", "a=1&b=\udcff"])
def test_another_text_is_refused(key: rsa.RSAPrivateKey, text: str) -> None:
    """The signature covers that text only, and a lone surrogate is refused."""
    assert not is_signed(key.public_key(), text, BY_OPENSSL)


def test_the_text_that_is_signed() -> None:
    """Sorted by name, without `sign` and empty values; `sign_type` only where it is not left out."""
    parameters = {"sign_type": "RSA2", "sign": "x", "b": "茶", "empty": "", "a": "1", "B": "2"}
    assert signed_text(parameters) == "B=2&a=1&b=茶&sign_type=RSA2"
    assert signed_text(parameters, leave_out=("sign", "sign_type")) == "B=2&a=1&b=茶"


def test_keys_in_every_format(key: rsa.RSAPrivateKey) -> None:
    """PEM and bare base64, PKCS#1 and PKCS#8, wrapped or not."""
    for style in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        pem = key.private_bytes(Encoding.PEM, style, NoEncryption()).decode()
        bare = base64.b64encode(key.private_bytes(Encoding.DER, style, NoEncryption())).decode()
        for text in (pem, bare, f" {bare[:64]}\n{bare[64:]}\n"):
            assert sign(read_private_key(text, "key"), TEXT) == BY_OPENSSL
    public = key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    bare = base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    for text in (pem, bare):
        assert is_signed(read_public_key(text, "key"), TEXT, BY_OPENSSL)


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "茶"])
def test_texts_that_are_no_key(text: str) -> None:
    """The error names the key that cannot be read."""
    with pytest.raises(ConfigError, match="my_key"):
        read_private_key(text, "my_key")
    with pytest.raises(ConfigError, match="my_key"):
        read_public_key(text, "my_key")


def test_keys_that_are_too_weak() -> None:
    """A short key and one of another kind are refused."""
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - refused for that
    for key, reason in ((short, "1024 bits, but RSA2 needs at least 2048"), (Ed25519PrivateKey.generate(), "not RSA")):
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        with pytest.raises(ConfigError, match=reason):
            read_private_key(private, "key")
        with pytest.raises(ConfigError, match=reason):
            read_public_key(public, "key")


def test_answers_are_verified_over_their_exact_text(alipays_keys: KeyPair) -> None:
    """Braces and quotes inside of values, odd spaces and the order of members make no difference."""
    private = read_private_key(alipays_keys.private, "key")
    signers = Signers({"": read_public_key(alipays_keys.public, "key")})
    exact = '{ "code":"10000" , "subject":"a }\\" ,\\"sign\\":\\"{ 茶" }'
    signature = sign(private, exact)
    name = "alipay_trade_query_response"
    for text in (
        f'{{"{name}":{exact},"sign":"{signature}"}}',
        f' {{ "sign" : "{signature}",\n"{name}" :\t{exact} }} ',
        f'{{"{name}":{exact},"alipay_cert_sn":"x","sign":"{signature}"}}',
    ):
        assert (
            read_answer(text.encode(), "", method="alipay.trade.query", signers=signers)["subject"]
            == 'a }" ,"sign":"{ 茶'
        )
    for text in (
        "",
        "null",
        "[]",
        "{",
        "{}",
        "{]",
        "[" * 100_000,
        f'{{"{name}":{exact}}}',
        f'{{"{name}":{exact},"sign":7}}',
        f'{{"{name}":{exact},"sign":"{signature}"',
        f'{{"{name}":{exact},"sign":"{signature}"}}x',
        f'{{"{name}":{exact.replace("a }", "a  }")},"sign":"{signature}"}}',
        f'{{"{name}":"x","{name}":{exact},"sign":"{signature}"}}',
        f'{{"alipay_trade_close_response":{exact},"sign":"{signature}"}}',
    ):
        with pytest.raises(AlipayUnavailable):
            read_answer(text.encode(), "", method="alipay.trade.query", signers=signers)
