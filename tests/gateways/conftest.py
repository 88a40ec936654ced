"""A simulator of Alipay, and a gateway that talks to it."""

from collections.abc import Iterator

import pytest

from lapse.gateways.alipay import AlipayGateway, AlipaySettings
from lapse.testing.alipay import AlipaySimulator, Authority, KeyPair
from tests.alipay_keys import ALIPAY, APP
from tests.alipay_keys import authority as shared_authority
from tests.gateways.listening import Listener


@pytest.fixture(scope="session")
def app_keys() -> KeyPair:
    """Return the shop's key pair."""
    return APP


@pytest.fixture(scope="session")
def alipays_keys() -> KeyPair:
    """Return the simulator's key pair."""
    return ALIPAY


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Return the authority that issues certificates for both sides."""
    return shared_authority()


@pytest.fixture
def alipay(app_keys: KeyPair, alipays_keys: KeyPair) -> Iterator[AlipaySimulator]:
    """Start a simulator that has no trades."""
    with AlipaySimulator(app_keys.public, private_key=alipays_keys.private) as running:
        yield running


@pytest.fixture
def shop() -> Iterator[Listener]:
    """Listen for notifies."""
    with Listener() as listener:
        yield listener


@pytest.fixture
def settings(alipay: AlipaySimulator, app_keys: KeyPair, shop: Listener) -> AlipaySettings:
    """Return the settings of a shop that uses the simulator."""
    return AlipaySettings(
        app_id=alipay.app_id,
        seller_id=alipay.seller_id,
        private_key=app_keys.private,
        alipay_public_key=alipay.public_key,
        gateway_url=alipay.gateway_url,
        notify_url=shop.url,
        return_url="http://shop.example/back/?from=alipay",
    )


@pytest.fixture
def gateway(settings: AlipaySettings) -> Iterator[AlipayGateway]:
    """Open the gateway."""
    with AlipayGateway(settings) as opened:
        yield opened
