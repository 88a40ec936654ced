"""Places one order and kills its own process by SIGKILL: `python -m tests.shop.place_and_die WHEN`.

WHEN is "before": the order is inserted and armed, its COMMIT not yet sent; or "after": the COMMIT was answered, and
nothing else is done.
"""

import os
import signal
import sys

import django


def main(when: str) -> None:
    """Place it and die."""
    from django.contrib.auth.models import User  # noqa: PLC0415 - Django must be set up first
    from django.db import connection  # noqa: PLC0415 - as above

    from shop.catalogue.models import Product  # noqa: PLC0415 - as above
    from shop.orders.placing import Wanted, place  # noqa: PLC0415 - as above

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    buyer = User.objects.create(username=f"{when}@shop.example")
    product = Product.objects.order_by("sku")[0]
    setattr(connection, {"before": "_commit", "after": "run_and_clear_commit_hooks"}[when], die)
    place(buyer, [Wanted(product.sku, 1, product.price)])


if __name__ == "__main__":
    django.setup()
    main(sys.argv[1])
