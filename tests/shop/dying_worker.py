"""Programs of the tests in which a worker is killed while an attempt to pay is open.

`python -m tests.shop.dying_worker place COUNT` places overdue orders, each with an open attempt. With a step in place
of "place", it runs a worker that kills its own process by SIGKILL there:

* begun: step one is committed, and no gateway has been called;
* called: in the call to the gateway;
* answered: the gateway has closed the attempt, and step three is not committed;
* finished: step three is committed, and the deadline is not disarmed.
"""

import os
import signal
import sys
from datetime import timedelta
from typing import Any

import django


def place_overdue(count: int) -> None:
    """Place the orders, open an attempt for each, and let their time to pay pass."""
    from django.contrib.auth.models import User  # noqa: PLC0415 - Django must be set up first
    from django.db.models.functions import Now  # noqa: PLC0415 - as above

    from lapse.integrations.django import unpaid_orders  # noqa: PLC0415 - as above
    from shop.catalogue.models import Product  # noqa: PLC0415 - as above
    from shop.orders.models import Order  # noqa: PLC0415 - as above
    from shop.orders.placing import Wanted, place  # noqa: PLC0415 - as above
    from shop.payments.links import payment_link  # noqa: PLC0415 - as above

    product = Product.objects.order_by("sku")[0]
    for number in range(count):
        buyer = User.objects.create(username=f"buyer{number}@shop.example")
        payment_link(place(buyer, [Wanted(product.sku, 1, product.price)]).order.pk)
    Order.objects.update(pay_by=Now() - timedelta(seconds=1))
    unpaid_orders().arm(*Order.objects.all())


def work_and_die(step: str) -> None:
    """Run a worker that is killed at the step."""
    from django.core.management import call_command  # noqa: PLC0415 - Django must be set up first

    from lapse.orders import Closing, Service, Sweep  # noqa: PLC0415 - as above
    from shop.lapsing import ShopOrders  # noqa: PLC0415 - as above
    from shop.payments.development import DevelopmentGateway  # noqa: PLC0415 - as above

    def die(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    owner, method = {
        "begun": (Closing, "close"),
        "called": (DevelopmentGateway, "close"),
        "answered": (ShopOrders, "on_lapse"),
        "finished": (Service, "_finished"),
    }[step]
    setattr(owner, method, die)
    Sweep.run = lambda _: None  # type: ignore[assignment, method-assign] # it may come first, and then the worker has nothing to do
    call_command("lapse_worker", "--sweep-every", "600", "--lease", "3")


if __name__ == "__main__":
    django.setup()
    if sys.argv[1] == "place":
        place_overdue(int(sys.argv[2]))
    else:
        work_and_die(sys.argv[1])
