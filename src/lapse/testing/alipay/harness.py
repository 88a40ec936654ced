"""The simulator inside a test: in a thread of its own, with a buyer who presses the cashier's buttons."""

import asyncio
import re
import socket
import ssl
import threading
from decimal import Decimal
from typing import Any, Self
from urllib.parse import quote, urljoin

import httpx
import uvicorn

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.errors import LapseError
from lapse.testing.alipay.app import create_app
from lapse.testing.alipay.authority import Authority
from lapse.testing.alipay.certified import CertificateSettings
from lapse.testing.alipay.gateway import Alipay, SimulatorSettings
from lapse.testing.alipay.keys import new_key_pair, pair_of

STARTS_WITHIN = 30.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The simulator speaks plain HTTP, and reading the CA certificates for each client would take longer than its calls."""


class AlipaySimulator:
    """A running simulator on a free port of 127.0.0.1, for the app that has this public key. Use it in `with`.

    The shop's settings need `app_id`, `seller_id`, `gateway_url` and `public_key`. `private_key` is Alipay's, PEM; by
    default a new one. `pace` is a factor on the pauses between the sendings of a notify; 1 is Alipay's own pace.

    With an `authority`, the shop's settings need `certificates` in place of `public_key`.
    """

    def __init__(
        self,
        app_public_key: str,
        *,
        private_key: str = "",
        pace: float = 0.0001,
        clock: Clock = SYSTEM_CLOCK,
        authority: Authority | None = None,
    ) -> None:
        own = pair_of(private_key) if private_key else new_key_pair()
        settings = SimulatorSettings(
            app_public_key=app_public_key, private_key=own.private, pace=pace, authority=authority
        )
        app = create_app(settings, clock=clock)
        alipay: Alipay = app.state.alipay
        self._certified = alipay.certified
        self.app_id, self.seller_id, self.public_key = settings.app_id, settings.seller_id, own.public
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.gateway_url = f"{self.url}/gateway.do"
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="alipay-simulator", daemon=True)
        self._http = httpx.Client(base_url=self.url, trust_env=False, timeout=30, verify=NO_TLS)

    def __enter__(self) -> Self:
        self._thread.start()
        give_up_at = SYSTEM_CLOCK.monotonic() + STARTS_WITHIN
        while not self._server.started:
            if not self._thread.is_alive() or SYSTEM_CLOCK.monotonic() > give_up_at:
                raise LapseError("the simulator did not start; its log has the reason")
            self._thread.join(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(STARTS_WITHIN)
        self._http.close()
        self._socket.close()

    @property
    def certificates(self) -> CertificateSettings:
        """The fields of `AlipaySettings` in the mode of certificates. Raises LapseError without an authority."""
        if self._certified is None:
            raise LapseError("the simulator has certificates only with an authority")
        return self._certified.settings

    def rotate(self, *, trusted: bool = True) -> None:
        """Let Alipay sign with another key and certificate; with `trusted` false, with one of another authority."""
        self._request("POST", "/control/rotate", {"trusted": trusted})

    def faults(self, out_trade_no: str = "", /, **changes: Any) -> None:  # noqa: ANN401 - the values of FAULTS
        """Switch faults for all trades, or of one trade; see `lapse.testing.alipay.FAULTS`. None takes one away.

        A trade's own faults win. Its number may have faults before its link is opened. With `times=2`, the faults come
        twice and are then off. Raises LapseError, which lists what there is, for an unknown fault or value.
        """
        times = changes.pop("times", None)
        query = "" if times is None else f"?times={times}"
        self._request("PUT", f"{_faults_of(out_trade_no)}{query}", changes)

    def reset(self, out_trade_no: str = "") -> None:
        """Switch off every fault of one trade; without a number, every fault there is."""
        self._request("DELETE", _faults_of(out_trade_no))

    def trades(self) -> list[dict[str, Any]]:
        """Return the trades with their notifies, oldest first."""
        listed: list[dict[str, Any]] = self._request("GET", "/control/trades")
        return listed

    def trade(self, out_trade_no: str) -> dict[str, Any] | None:
        """Return one trade, or None."""
        return next((trade for trade in self.trades() if trade["out_trade_no"] == out_trade_no), None)

    def refund(self, out_trade_no: str, amount: Decimal | None = None) -> None:
        """Refund yuan as the merchant does in Alipay's console; by default all that is left. Raises LapseError."""
        yuan = None if amount is None else str(amount)
        self._request("POST", "/control/refund", {"out_trade_no": out_trade_no, "amount": yuan})

    def notify(self, out_trade_no: str, **changes: str) -> None:
        """Send a notify of the trade now, with `changes` replaced and signed. Raises LapseError if there is none."""
        self._request("POST", "/control/notify", {"out_trade_no": out_trade_no, "changes": changes})

    def _request(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        answer = self._http.request(method, path, json=body)
        if answer.is_error:
            raise LapseError(f"the simulator refused: {answer.text}")
        return answer.json()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


def _faults_of(out_trade_no: str) -> str:
    return f"/control/faults/{quote(out_trade_no, safe='')}" if out_trade_no else "/control/faults"


class Buyer:
    """A buyer whose browser follows a payment link. Raises LapseError if Alipay refuses the link."""

    def __init__(self, link: str) -> None:
        with httpx.Client(trust_env=False, timeout=30, verify=NO_TLS) as http:
            opened = http.get(link)
        if not opened.is_redirect:
            code = re.search(r'class="code">([^<]+)', opened.text)
            raise LapseError(f"the link was refused: {code[1] if code else opened.status_code}")
        self.page = urljoin(link, opened.headers["location"])

    def scan(self) -> bool:
        """Scan the code, which creates the trade; return False if the link has ended."""
        return self._press("scan").is_redirect

    def pay(self) -> str | None:
        """Press the button that pays; return the address to which Alipay sends the buyer, or None if it refuses."""
        pressed = self._press("pay")
        return pressed.headers["location"] if pressed.is_redirect else None

    def leave(self) -> None:
        """Leave without paying."""
        self._press("leave")

    def _press(self, action: str) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=30, verify=NO_TLS) as http:
            return http.post(f"{self.page}/{action}")
