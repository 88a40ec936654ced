"""A simulator of Alipay's page pay, for demos and for a shop's own tests. No money is involved.

As a program: `python -m lapse.testing.alipay --public-key app_public.pem --port 8100`. In a test:

    with AlipaySimulator(app_public_key) as alipay:
        settings = AlipaySettings(gateway_url=alipay.gateway_url, alipay_public_key=alipay.public_key, ...)
        ...
        buyer = Buyer(gateway.page_pay_url(...))
        buyer.scan()
        buyer.pay()

The simulator checks the signature of every request, answers with Alipay's own codes, and signs answers and notifies.
With an `Authority` it issues certificates, for Alipay's mode of certificates.
It sends a notify again until the shop answers exactly `success`, and refuses payments after `time_expire`. A payment
happens only by the buttons of the cashier page. `alipay.refund(...)` refunds as the merchant does in Alipay's console.
`alipay.faults(...)` lets the simulator lose notifies, answer SYSTEM_ERROR, hang or refuse refunds; `FAULTS` has all of
them. The simulator's own page lists the trades, with a button for each fault and action.
Everything is in memory: a new simulator has no trades.
"""

from lapse.engine.errors import MissingLibrary

try:
    import cryptography as _cryptography  # noqa: F401 - imported here, so that the message names the extra to install
    import httpx as _httpx  # noqa: F401 - as above
    import starlette as _starlette  # noqa: F401 - as above
    import uvicorn as _uvicorn  # noqa: F401 - as above
except ModuleNotFoundError as error:
    raise MissingLibrary("lapse.testing.alipay", "simulator", distribution="lapse-testing") from error

from lapse.testing.alipay.app import create_app
from lapse.testing.alipay.authority import Authority
from lapse.testing.alipay.faults import FAULTS, Answers, Fault, Notifying
from lapse.testing.alipay.gateway import SimulatorSettings
from lapse.testing.alipay.harness import AlipaySimulator, Buyer
from lapse.testing.alipay.keys import KeyPair, new_key_pair, sign_notify

__all__ = [
    "FAULTS",
    "AlipaySimulator",
    "Answers",
    "Authority",
    "Buyer",
    "Fault",
    "KeyPair",
    "Notifying",
    "SimulatorSettings",
    "create_app",
    "new_key_pair",
    "sign_notify",
]
