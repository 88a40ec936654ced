"""What the shop's tests share: its settings, products and people."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from lapse.testing.ports import free_port
from lapse.testing.servers import PostgresServer
from shop.buyers.accounts import sign_up
from shop.catalogue.models import Product
from shop.console.permissions import make_merchant
from tests.shop.live_shop import LiveShop
from tests.shop.rehearsal import PASSWORD
from tests.shop.running import PATIENCE, Run


@pytest.fixture(autouse=True)
def shop(settings: Settings) -> Settings:
    """Set the shop up as `make run` does, with a timer in memory and quick password hashes."""
    settings.LAPSE_ORDERS = "shop.lapsing.ShopOrders"
    settings.LAPSE_TIMER = "memory://"
    settings.LAPSE_PAYMENT_WINDOW = timedelta(minutes=30)
    settings.LAPSE_OPEN_ORDERS = 20
    settings.LAPSE_WEBHOOK_SECRET = "whsec_" + "c2hvcC10ZXN0LXNlY3JldC1zaG9wLXRlc3Qtc2VjcmV0"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return settings


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Open a shop with time enough to look at everything, for all tests of its group; SIGTERM leaves nothing of it."""
    folder = tmp_path_factory.mktemp("standing") / "run"
    run = Run(folder, free_port(), LAPSE_PAYMENT_WINDOW="600", RATE_LIMITS="off")
    try:
        yield run.opened()
    finally:
        run.process.terminate()
        assert run.process.wait(PATIENCE) == 0, run.output
        assert run.processes() == {}


@pytest.fixture(scope="session")
def seeded(postgres: PostgresServer) -> str:
    """Set up a shop's database, with its products and the table of a timer, to be copied. Return its name."""
    shop = LiveShop(postgres, timer="its own")
    shop.manage("seed", "--migrate")
    return shop.database


@pytest.fixture
def buyer(transactional_db: None) -> User:
    """Sign a buyer up."""
    del transactional_db
    return sign_up("mei@example.com", PASSWORD)


@pytest.fixture
def rival(transactional_db: None) -> User:
    """Sign another buyer up."""
    del transactional_db
    return sign_up("rival@example.com", PASSWORD)


@pytest.fixture
def merchant(transactional_db: None) -> User:
    """Make one of the merchants."""
    del transactional_db
    user = sign_up("merchant@example.com", PASSWORD)
    make_merchant(user)
    return user


@pytest.fixture
def cup(transactional_db: None) -> Product:
    """Put ten cups at 58.00 on the shelf."""
    del transactional_db
    return Product.objects.create(
        sku="CUP", name="Cup", price=Decimal("58.00"), on_hand=10, picture="shop/products/gaiwan.svg"
    )


@pytest.fixture
def pot(transactional_db: None) -> Product:
    """Put one pot at 328.00 on the shelf."""
    del transactional_db
    return Product.objects.create(
        sku="POT", name="Pot", price=Decimal("328.00"), on_hand=1, picture="shop/products/gaiwan.svg"
    )
