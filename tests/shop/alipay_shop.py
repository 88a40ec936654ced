"""Fixtures for the tests of paying by Alipay; a test module imports the fixtures it uses."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from lapse.testing.alipay import AlipaySimulator, KeyPair
from shop.payments import alipay
from tests.alipay_keys import ALIPAY, APP
from tests.shop.alipay_rehearsal import PayingShop


@pytest.fixture
def paying(shop: Settings, live_server: LiveServer) -> Iterator[PayingShop]:
    """Connect the shop, which listens at a real address, to a simulator."""
    with AlipaySimulator(APP.public, private_key=ALIPAY.private) as simulator:
        shop.SHOP_GATEWAY = "alipay"
        shop.PAYMENT_ORIGINS = [simulator.url]
        shop.ALIPAY = settings_for(simulator, live_server.url)
        yield PayingShop(simulator, ALIPAY)
        gateway = alipay.open_alipay()
        if gateway is not None:
            gateway.__exit__()
        alipay._open.cache_clear()


def settings_for(simulator: AlipaySimulator, public_url: str, app: KeyPair = APP) -> dict[str, str]:
    """Return the settings of a shop at this address."""
    return {
        "app_id": simulator.app_id,
        "seller_id": simulator.seller_id,
        "private_key": app.private,
        "alipay_public_key": simulator.public_key,
        "gateway_url": simulator.gateway_url,
        "notify_url": f"{public_url}/payment/alipay/notify/",
        "return_url": f"{public_url}/payment/alipay/return/",
    }
