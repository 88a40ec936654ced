"""A simulator of Alipay's page pay, for demos and for a shop's own tests. No money is involved.

As a program: `python -m lapse.testing.alipay --public-key app_public.pem --port 8100`. In a test:

    with AlipaySimulator(app_public_key) as alipay:
        settings = AlipaySettings(gateway_url=alipay.gateway_url, alipay_public_key=alipay.public_key, ...)
        ...
        buyer = Buyer(gateway.page_pay_url(...))
        buyer.scan()
        buyer.pay()

It checks the signature of every request and answers with Alipay's own codes, signs its answers and its notifies, sends
a notify again until it hears exactly `success`, and refuses after `time_expire`. It pays only when it is told to, by
the buttons of its cashier page. `alipay.faults(...)` makes it lose notifies, answer SYSTEM_ERROR, hang and so on; see
`Faults`. Everything is in memory: a new one knows of no trade.
"""

from lapse.engine.errors import MissingLibrary

try:
    import cryptography as _cryptography  # noqa: F401 - looked for here, so that the message can say what to do
    import httpx as _httpx  # noqa: F401 - as above
    import starlette as _starlette  # noqa: F401 - as above
    import uvicorn as _uvicorn  # noqa: F401 - as above
except ModuleNotFoundError as error:
    raise MissingLibrary("lapse.testing.alipay", "simulator", distribution="lapse-testing") from error

from lapse.testing.alipay.app import SimulatorSettings, create_app
from lapse.testing.alipay.faults import Answers, Faults, Notifying
from lapse.testing.alipay.harness import AlipaySimulator, Buyer
from lapse.testing.alipay.keys import KeyPair, new_key_pair

__all__ = [
    "AlipaySimulator",
    "Answers",
    "Buyer",
    "Faults",
    "KeyPair",
    "Notifying",
    "SimulatorSettings",
    "create_app",
    "new_key_pair",
]
