"""Signed calls to Alipay over HTTP, and the keys that its answers are verified with."""

import base64
import json
import logging
import secrets
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from lapse.engine.clock import Clock
from lapse.engine.errors import ConfigError, MissingLibrary
from lapse.gateways.alipay import answers, messages
from lapse.gateways.alipay.certificates import rsa_key, serial_of
from lapse.gateways.alipay.keys import PublicKey, read_certificates, read_private_key, read_public_key
from lapse.gateways.alipay.messages import AlipayRefused, AlipayUnavailable
from lapse.gateways.alipay.settings import AlipaySettings
from lapse.gateways.alipay.signers import Signers
from lapse.gateways.alipay.signing import SIGN_TYPE, sign, signed_text

try:
    import httpx

    from lapse.network.connections import FAILURES, Connections
except ModuleNotFoundError as error:
    raise MissingLibrary("lapse.gateways.alipay", "alipay") from error

log = logging.getLogger("lapse")

CHARSET = "utf-8"
DOWNLOAD = "alipay.open.app.alipaycert.download"
LONGEST_ANSWER = 1 << 17
"""Bytes. Alipay's longest answer has a certificate and is far shorter. To read this many takes a second at most."""
HEADERS = [
    ("user-agent", "lapse"),
    ("accept", "*/*"),
    ("accept-encoding", "identity"),
    ("content-type", "application/x-www-form-urlencoded"),
]


class AlipayClient:
    """Calls Alipay for one app. Threads may share it. Each call ends within the settings' `timeout`, all in all.

    An answer may cost a second call: it downloads the certificate that Alipay signs with now, if that is a new one.
    """

    def __init__(self, settings: AlipaySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._private_key = read_private_key(settings.private_key, "private_key")
        self._certificates = settings.certificates
        if self._certificates is None:
            self.signers = Signers({"": read_public_key(settings.alipay_public_key, "alipay_public_key")})
        else:
            alipay = self._certificates.alipay[0]
            self.signers = Signers(
                {serial_of(alipay): rsa_key(alipay, "alipay_certificate")}, self._download, self._ask, clock=clock
            )
        # Only the charset is in the address of a call: Alipay must know it before it decodes the body. The signed
        # parameters are the body, because proxies and servers log addresses.
        try:
            self._connections = Connections(self._address({"charset": CHARSET}))
        except httpx.InvalidURL as error:
            raise ConfigError(f"gateway_url cannot be read: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def link(self, method: str, content: dict[str, str], addresses: dict[str, str]) -> str:
        """Return the address that makes a browser carry the call. No call is made."""
        return self._address(self._signed(method, content, addresses))

    def call(self, method: str, content: dict[str, str]) -> dict[str, Any]:
        """Return Alipay's verified answer to one call. Raises AlipayUnavailable or AlipayRefused."""
        answer = answers.read_answer(*self._send(method, content), method=method, signers=self.signers)
        number = content["out_trade_no"]
        if (other := answer.get("out_trade_no", number)) != number:  # no answer is signed together with its call
            raise AlipayUnavailable(f"{method} was for {number}, but Alipay answered for {other!r}")
        return answer

    def _send(self, method: str, content: dict[str, str]) -> tuple[bytes, str]:
        """Return the bytes of an answer, not verified, and its Content-Type. Raises AlipayUnavailable."""
        body = urlencode(self._signed(method, content, {})).encode()
        answer = bytearray()
        try:
            with (
                self._connections.lend(self._settings.timeout.total_seconds()) as connection,
                connection.stream("POST", self._connections.target, headers=HEADERS, content=body) as response,
            ):
                if response.status != HTTPStatus.OK:
                    raise AlipayUnavailable(f"{method}: HTTP status {response.status}")
                for part in response.iter_stream():
                    answer += part
                    if len(answer) > LONGEST_ANSWER:
                        raise AlipayUnavailable(f"{method}: the answer is longer than {LONGEST_ANSWER} bytes")
                return bytes(answer), httpx.Headers(response.headers).get("content-type", "")
        except FAILURES as error:
            raise AlipayUnavailable(f"{method}: {type(error).__name__} {error}".rstrip()) from error

    def _ask(self) -> None:
        """Make a call whose answer names the certificate that Alipay signs with at present."""
        try:
            self.call("alipay.trade.query", {"out_trade_no": f"probe_{secrets.token_hex(16)}"})
        except AlipayRefused:
            pass  # there is no such trade, and the answer was verified
        except AlipayUnavailable as error:
            log.warning("a message is not signed by a known certificate, and Alipay's own was not learnt: %s", error)

    def _download(self, serial: str) -> PublicKey:
        """Return the key of another certificate of Alipay. Raises AlipayError, or ConfigError for an untrusted one.

        The answer is not verified by its signature, which would need the very certificate: the roots decide.
        """
        if self._certificates is None:
            raise ConfigError("the gateway has a plain key, and no certificates")
        raw, content_type = self._send(DOWNLOAD, {"alipay_cert_sn": serial})
        answer = next(answers.answers(raw, DOWNLOAD, content_type), None)
        if answer is None:
            raise AlipayUnavailable(f"Alipay's answer is not JSON with a response to {DOWNLOAD}")
        try:
            text = base64.b64decode(str(answers.checked(answer).get("alipay_cert_content", ""))).decode()
        except ValueError as error:
            raise ConfigError("Alipay has sent a text that is not a certificate") from error
        chain = read_certificates(text, "the text that Alipay has sent")
        key = self._certificates.key_of_successor(chain, serial, self._clock.now())
        log.warning(
            "Alipay signs with a new certificate, %s, valid until %s: download it from Alipay's console, and set it as "
            "alipay_certificate before the old one expires",
            serial,
            f"{chain[0].not_valid_after_utc:%Y-%m-%d}",
        )
        return key

    def _signed(self, method: str, content: dict[str, str], addresses: dict[str, str]) -> dict[str, str]:
        parameters = {
            "app_id": self._settings.app_id,
            "method": method,
            "format": "JSON",
            "charset": CHARSET,
            "sign_type": SIGN_TYPE,
            "timestamp": messages.china_time(self._clock.now()),
            "version": "1.0",
            "biz_content": json.dumps(content, ensure_ascii=False, separators=(",", ":")),
            **(self._certificates.requests_fields if self._certificates else {}),
            **addresses,
        }
        return parameters | {"sign": sign(self._private_key, signed_text(parameters))}

    def _address(self, parameters: dict[str, str]) -> str:
        separator = "&" if urlsplit(self._settings.gateway_url).query else "?"
        return f"{self._settings.gateway_url}{separator}{urlencode(parameters)}"
