"""`python -m benchmarks.shop_load`: many buyers at once against a running shop, and proof that its books are right.

They sign up, place, pay, cancel and abandon orders, from this process, which is not the shop's. When all abandoned
orders have lapsed, the books are checked. There was no 5xx, no piece was sold twice and no order cancelled early. Money
that was taken at the cashier paid its order, the statistics agree with what was done, and so does `manage.py audit`.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections import Counter, defaultdict
from contextlib import nullcontext
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import psycopg

from benchmarks.shop_buyers import Book, new_client, settle_all, shop_for
from shop.running.trial import TrialFailed, TrialShop, trial_shop

SIGN_UPS_AT_ONCE = 8
"""A password hash is meant to cost; these are the threads of the load's beginning, not of the load."""
ROOMY = 40
"""How many times the usual stock every other product has in a shop of our own; the rest stays scarce."""
SHOWN = 20


def main() -> int:
    """Run the load. Returns 0 where all was right, 1 where anything was not, 2 for a wrong call."""
    given = _arguments()
    try:
        with trial_shop(LAPSE_PAYMENT_WINDOW=given.window) if not given.url else nullcontext() as own:
            if own is not None:
                _make_room(own)
            return asyncio.run(_load(given, own))
    except TrialFailed as error:
        print(error, file=sys.stderr)
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shop_load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  python -m benchmarks.shop_load                            a shop of its own, 100 buyers, two minutes\n"
        "  python -m benchmarks.shop_load --buyers 10 --seconds 10   the short form, which the tests run\n"
        "  MERCHANT_PASSWORD=… python -m benchmarks.shop_load http://127.0.0.1:8000\n\n"
        "A shop of yours must run with RATE_LIMITS=off and without other buyers meanwhile. Its address, e-mail and\n"
        "password of a merchant are needed for the statistics; its audit you run yourself: manage.py audit.",
    )
    parser.add_argument("url", nargs="?", help="a running shop; without it one is started, with data that is removed")
    parser.add_argument("--buyers", type=int, default=100, help="at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long they shop (%(default)s)")
    parser.add_argument("--think", type=float, default=1.0, help="mean seconds between two orders (%(default)s)")
    parser.add_argument("--window", default="20", help="seconds to pay in, of the shop that is started (%(default)s)")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for the last orders to end (%(default)s)")
    parser.add_argument("--merchant-email", default=os.environ.get("MERCHANT_EMAIL", "merchant@shop.example"))
    given = parser.parse_args()
    if given.buyers < 1 or given.seconds <= 0 or given.think < 0:
        parser.error("buyers and seconds must be greater than 0")
    if given.url and not os.environ.get("MERCHANT_PASSWORD"):
        parser.error("MERCHANT_PASSWORD is not set; the statistics are the merchant's")
    return given


def _make_room(own: TrialShop) -> None:
    """Raise the stock of every other product, so that there is both plenty and scarcity."""
    with psycopg.connect(own.database) as connection:
        connection.execute("UPDATE catalogue_product SET on_hand = on_hand * %s WHERE id %% 2 = 0", [ROOMY])


async def _load(given: argparse.Namespace, own: TrialShop | None) -> int:
    url = own.url if own else given.url.rstrip("/")
    email, password = (
        (own.merchant_email, own.merchant_password) if own else (given.merchant_email, os.environ["MERCHANT_PASSWORD"])
    )
    book = Book()
    async with new_client() as client:
        signed_in = await client.post(f"{url}/api/tokens", json={"email": email, "password": password})
        if signed_in.is_error:
            raise TrialFailed(f"The merchant cannot sign in: {signed_in.status_code} {signed_in.text}")
        merchant = {"Authorization": f"Bearer {signed_in.json()['token']}"}
        before = await _books(client, url, merchant)
        tokens = await _sign_up(client, book, url, given.buyers)
        print(f"{len(tokens)} buyers for {given.seconds:g} s at {url}", flush=True)
        begun = time.monotonic()
        until = begun + given.seconds
        await asyncio.gather(
            *(shop_for(client, book, url, until=until, token=token, think=given.think) for token in tokens)
        )
        took = time.monotonic() - begun
        await settle_all(client, book, url, patience=given.patience)
        _check_orders(book)
        _check_books(book, before, await _books(client, url, merchant))
    if own:
        _audit(book, own)
    _report(book, took)
    return 1 if book.violations else 0


async def _sign_up(client: httpx.AsyncClient, book: Book, url: str, buyers: int) -> list[str]:
    gate = asyncio.Semaphore(SIGN_UPS_AT_ONCE)

    async def one() -> str:
        buyer = {"email": f"load-{secrets.token_hex(8)}@example.com", "password": secrets.token_urlsafe(12)}
        async with gate:
            answer = await book.send(client, "sign up", "POST", f"{url}/api/buyers", json=buyer)
        if answer.is_error:
            raise TrialFailed(f"No buyer can sign up ({answer.status_code} {answer.text}). Is RATE_LIMITS off?")
        return str(answer.json()["token"])

    return list(await asyncio.gather(*(one() for _ in range(buyers))))


async def _books(client: httpx.AsyncClient, url: str, merchant: dict[str, str]) -> dict[str, Any]:
    """Return the statistics, summed over all days, and the available stock, both as the shop's API reports them."""
    days = (await client.get(f"{url}/api/statistics?days=366", headers=merchant)).raise_for_status().json()
    products = (await client.get(f"{url}/api/products", headers=merchant)).raise_for_status().json()
    products = products["items"] if isinstance(products, dict) else products
    figures: Counter[str] = Counter()
    amounts: defaultdict[str, Decimal] = defaultdict(Decimal)
    for day in days:
        for event, figure in {"placed": day["placed"], "paid": day["paid"], **day["cancelled"]}.items():
            figures[event] += figure["count"]
            amounts[event] += Decimal(figure["amount"])
    return {
        "figures": figures,
        "amounts": amounts,
        "available": {product["sku"]: product["available"] for product in products},
    }


def _check_orders(book: Book) -> None:
    for one in book.orders:
        status, reason = one.last.get("status"), one.last.get("cancel_reason")
        if one.paid_at_cashier and status != "paid":
            book.violations.append(f"order {one.id} was paid at the cashier and is {status} ({reason})")
        if one.intent != "pay" and status == "paid":
            book.violations.append(f"order {one.id} is paid, though its buyer did not pay")
        if one.intent == "abandon" and (status, reason) != ("cancelled", "expired"):
            book.violations.append(f"order {one.id} was abandoned and is {status} ({reason})")
        if reason == "expired" and _late(one.last) < 0:
            book.violations.append(f"order {one.id} was cancelled {-_late(one.last):.6f} s early")


def _late(document: dict[str, Any]) -> float:
    """Return the seconds from an order's deadline to its end."""
    ended, pay_by = (datetime.fromisoformat(document[name]) for name in ("cancelled_at", "pay_by"))
    return (ended - pay_by).total_seconds()


def _check_books(book: Book, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Compare what the shop says with what was done."""
    done: Counter[str] = Counter()
    amounts: defaultdict[str, Decimal] = defaultdict(Decimal)
    sold: Counter[str] = Counter()
    for one in book.orders:
        end = "paid" if one.last.get("status") == "paid" else str(one.last.get("cancel_reason"))
        for event in ("placed", end):
            done[event] += 1
            amounts[event] += one.total
        if end == "paid":
            sold.update(one.lines)
    for event in ("placed", "paid", "expired", "buyer", "merchant"):
        said = after["figures"][event] - before["figures"][event], after["amounts"][event] - before["amounts"][event]
        if said != (done[event], amounts[event]):
            book.violations.append(f"statistics say {event} {said}, done were {(done[event], amounts[event])}")
    for sku, had in before["available"].items():
        if after["available"][sku] != had - sold[sku]:
            book.violations.append(
                f"{sku}: {had} were there, {sold[sku]} were sold, {after['available'][sku]} are left"
            )


def _audit(book: Book, own: TrialShop) -> None:
    answer = own.manage("audit", "--json", "--grace", "5")
    if answer.returncode:
        book.violations.append(f"the audit does not agree: {answer.stdout}{answer.stderr}")
    else:
        checks = json.loads(answer.stdout)["checks"]
        print(f"audit: {len(checks)} checks agree")


def _report(book: Book, took: float) -> None:
    print(f"\n{'step':<20}{'requests':>9}{'per s':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for step, seconds in book.seconds.items():
        rate = f"{len(seconds) / took:.1f}" if step not in ("sign up", "look at the end") else ""
        print(f"{step:<20}{len(seconds):>9}{rate:>8}{_row(seconds)}")
    late = [_late(one.last) for one in book.orders if one.last.get("cancel_reason") == "expired"]
    if late:
        print(f"{'lateness':<20}{len(late):>9}{'':>8}{_row(late)}")
    ends = Counter(f"{one.last.get('status')} {one.last.get('cancel_reason') or ''}".strip() for one in book.orders)
    print("\norders:  " + ", ".join(f"{count} {end}" for end, count in ends.most_common()))
    print("answers: " + ", ".join(f"{count} {answer}" for answer, count in sorted(book.answers.items())))
    for violation in book.violations[:SHOWN]:
        print(f"WRONG    {violation}")
    print(
        f"\n{len(book.violations)} things wrong"
        if book.violations
        else "\nNothing wrong: no 5xx, no oversell, books right."
    )


def _row(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    points = (ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], ordered[-1])
    return "".join(f"{point * 1000:>9.1f}" for point in points)


if __name__ == "__main__":
    sys.exit(main())
