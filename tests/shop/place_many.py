"""Places many orders by the shop's own code, in its own process: `python -m tests.shop.place_many COUNT SECONDS`.

COUNT orders by many buyers, spread over so many seconds, by threads that compete for a few products.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import django

BUYERS = 60
THREADS = 4


def main(total: int, seconds: float) -> None:
    """Sign the buyers up and place the orders."""
    from django.contrib.auth.models import User  # noqa: PLC0415 - Django must be set up first

    from shop.catalogue.models import Product  # noqa: PLC0415 - as above
    from shop.orders.placing import Wanted, place  # noqa: PLC0415 - as above

    Product.objects.update(on_hand=10 * total)
    products = list(Product.objects.order_by("sku"))
    buyers = [User.objects.create(username=f"buyer{number}@shop.example") for number in range(BUYERS)]
    begun = time.monotonic()

    def one(number: int) -> None:
        time.sleep(max(0.0, begun + seconds * number / total - time.monotonic()))
        lines = [Wanted(product.sku, 1 + number % 3, product.price) for product in products[number % 9 :][:2]]
        place(buyers[number % BUYERS], lines)

    with ThreadPoolExecutor(THREADS) as pool:
        for result in [pool.submit(one, number) for number in range(total)]:
            result.result()


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]), float(sys.argv[2]))
