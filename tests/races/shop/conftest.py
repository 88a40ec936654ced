"""The reference shop, with its people and products, paid by Alipay's simulator."""

from tests.shop.alipay_shop import paying as paying  # noqa: PLC0414  # pytest finds a fixture by its name here
from tests.shop.conftest import buyer as buyer  # noqa: PLC0414  # as above
from tests.shop.conftest import cup as cup  # noqa: PLC0414  # as above
from tests.shop.conftest import pot as pot  # noqa: PLC0414  # as above
from tests.shop.conftest import rival as rival  # noqa: PLC0414  # as above
from tests.shop.conftest import shop as shop  # noqa: PLC0414  # as above
