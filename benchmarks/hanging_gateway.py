"""`python -m benchmarks.hanging_gateway`: how late orders without attempts are while a payment gateway hangs.

The reference shop's own worker lapses its orders, on a private PostgreSQL and Redis. First alone; then beside orders
whose buyers have scanned the gateway's code, while the gateway answers no call. Both in one run, and the ratio counts.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

from benchmarks.rows import Row, percentile, rounded
from benchmarks.scene import MeasurementFailed
from benchmarks.sizes import FULL, Sizes
from lapse.testing.alipay import AlipaySimulator, new_key_pair
from lapse.testing.faults import ChildProcess
from lapse.testing.servers import PostgresServer, RedisServer

if TYPE_CHECKING:
    from shop.orders.models import Order

ALONE, BESIDE = "shop, no gateway", "shop, gateway hangs"
HANGING = 45
"""Orders that wait for the gateway: more than it has threads."""
METHODS = ["alipay.trade.query", "alipay.trade.close"]
WARM_UP = 20
"""Orders that come first and do not count."""
FIGURES = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))


def main() -> int:
    """Measure once and print. Return 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hanging_gateway", description=__doc__)
    parser.add_argument("--due", type=int, default=1000, help="orders without attempts (%(default)s)")
    parser.add_argument("--per-second", type=int, default=100, help="that fall due in a second (%(default)s)")
    given = parser.parse_args()
    sizes = replace(FULL, due=given.due, per_second=given.per_second)
    found = hanging_gateway(sizes)
    for row in found:
        print(f"{row.mechanism:24} {row.measurement:32} {row.value} {row.unit}")
    for name, _ in FIGURES:
        alone, beside = (row.value or inf for row in found if row.measurement == f"order lateness {name}")
        print(f"{name}: {beside / alone:.2f} times as late beside the gateway that hangs")
    return 0


def hanging_gateway(sizes: Sizes) -> list[Row]:
    """Return the lateness of orders without attempts, alone and beside orders whose gateway hangs.

    Sets up Django in this process, so it can be called once. Raises MeasurementFailed if an order lapses early, or if
    one lapses whose gateway has not answered.
    """
    with _shop() as alipay:
        from benchmarks import hanging_orders as orders  # noqa: PLC0415 - Django is set up now

        orders.open_shop()
        slow = orders.place(HANGING)
        orders.scan(slow)
        alipay.faults(hanging=METHODS, hang=3600)
        rows = [*_measured(ALONE, sizes, []), *_measured(BESIDE, sizes, slow)]
        if (left := orders.waiting(slow)) != HANGING:
            raise MeasurementFailed(f"{HANGING - left} orders lapsed although their gateway had not answered")
    return rows


def _measured(name: str, sizes: Sizes, slow: "list[Order]") -> list[Row]:
    from benchmarks import hanging_orders as orders  # noqa: PLC0415 - as above
    from shop.database import database_now  # noqa: PLC0415 - as above

    placed = orders.place(sizes.due + WARM_UP)
    with ChildProcess([sys.executable, "-m", "shop.manage", "lapse_worker"]) as worker:
        while "lapsing orders by" not in worker.output:
            if not worker.running:
                raise MeasurementFailed(worker.output)
            time.sleep(0.05)
        begin = database_now() + timedelta(seconds=sizes.lead)
        orders.fall_due(slow, begin, timedelta(0))
        orders.fall_due(placed, begin, timedelta(seconds=1) / sizes.per_second)
        end = time.monotonic() + sizes.lead + len(placed) / sizes.per_second + sizes.patience
        while orders.waiting(placed) and time.monotonic() < end:
            time.sleep(0.2)
    late = orders.lateness(placed[WARM_UP:])
    late += [inf] * (sizes.due - len(late))
    if late[0] < 0:
        raise MeasurementFailed(f"an order was cancelled {-late[0]:.3f} ms before its deadline")
    about = {"due": sizes.due, "per_s": sizes.per_second, "hanging": len(slow), "patience_s": sizes.patience}
    return [
        Row(name, f"order lateness {figure}", rounded(percentile(late, share)), "ms", about)
        for figure, share in FIGURES
    ]


@contextmanager
def _shop() -> Iterator[AlipaySimulator]:
    """Set the shop up on new servers, and yield its Alipay."""
    app = new_key_pair()
    with ExitStack() as stack:
        database = stack.enter_context(PostgresServer(durable=True))
        redis = stack.enter_context(RedisServer())
        alipay = stack.enter_context(AlipaySimulator(app.public))
        os.environ.update(
            DJANGO_SETTINGS_MODULE="shop.settings",
            DEBUG="1",
            DATABASE_URL=database.url,
            LAPSE_TIMER=redis.url,
            SHOP_GATEWAY="alipay",
            PUBLIC_URL="http://shop.invalid",
            ALIPAY_APP_ID=alipay.app_id,
            ALIPAY_SELLER_ID=alipay.seller_id,
            ALIPAY_PRIVATE_KEY=app.private,
            ALIPAY_PUBLIC_KEY=alipay.public_key,
            ALIPAY_GATEWAY_URL=alipay.gateway_url,
        )
        import django  # noqa: PLC0415 - its settings are read now
        from django.core.management import call_command  # noqa: PLC0415 - as above
        from django.db import connections  # noqa: PLC0415 - as above

        django.setup()
        call_command("migrate", verbosity=0)
        stack.callback(connections.close_all)
        yield alipay
        logging.disable()  # as it closes, the simulator logs each call that hangs


if __name__ == "__main__":
    sys.exit(main())
