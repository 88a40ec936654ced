"""Buyers who sign up, order, pay, cancel or walk away, and a book of all that they did and of every answer."""

import asyncio
import random
import secrets
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx

PAY, CANCEL, ABANDON = "pay", "cancel", "abandon"
INTENTS = {PAY: 45, CANCEL: 10, ABANDON: 45}
MOST_OPEN = 15
"""Unpaid orders that one buyer leaves lying at once; the shop refuses more than 20."""


MARGIN = 3.0
"""Seconds after the last deadline before the orders are looked at."""
TOGETHER = 20
"""Questions asked at once when all orders are looked at."""


@dataclass
class Placed:
    """One order as its buyer knows it. `paid_at_cashier` means that the cashier took the money."""

    id: str
    token: str
    lines: dict[str, int]
    total: Decimal
    intent: str
    paid_at_cashier: bool = False
    last: dict[str, Any] = field(default_factory=dict)


@dataclass
class Book:
    """What was done and answered: seconds and answers by step, orders, and everything that must not be."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    answers: Counter[str] = field(default_factory=Counter)
    orders: list[Placed] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    async def send(
        self,
        client: httpx.AsyncClient,
        step: str,
        method: str,
        url: str,
        **more: Any,  # noqa: ANN401 - as httpx takes them
    ) -> httpx.Response:
        """Send a request, note its answer and return it. A 5xx, or no answer at all, is a violation."""
        begun = time.perf_counter()
        try:
            answer = await client.request(method, url, **more)
        except httpx.HTTPError as error:
            self.answers[f"{step}: no answer"] += 1
            self.violations.append(f"{step}: {type(error).__name__} {error}")
            return httpx.Response(599, request=httpx.Request(method, url))
        self.seconds[step].append(time.perf_counter() - begun)
        code = _code(answer)
        self.answers[f"{step}: {answer.status_code}{code}"] += 1
        if answer.is_server_error:
            self.violations.append(f"{step}: {answer.status_code} {answer.text[:300]}")
        return answer


def _code(answer: httpx.Response) -> str:
    """Return the code of a refusal's problem document, empty where there is none."""
    if not answer.is_error or "json" not in answer.headers.get("content-type", ""):
        return ""
    return f" {answer.json().get('code', '')}".rstrip()


def new_client() -> httpx.AsyncClient:
    """Return one client for all buyers, with a connection for each and a long time-out."""
    limits = httpx.Limits(max_connections=300, max_keepalive_connections=300)
    return httpx.AsyncClient(timeout=60, limits=limits)


async def shop_for(client: httpx.AsyncClient, book: Book, url: str, *, until: float, token: str, think: float) -> None:
    """Be one buyer until that moment of the monotonic clock."""
    api, me = f"{url}/api", {"Authorization": f"Bearer {token}"}
    chance = random.Random()  # noqa: S311 - buyers, no secrets
    mine: list[Placed] = []
    while time.monotonic() < until:
        await asyncio.sleep(chance.expovariate(1 / think) if think else 0)
        listed = await book.send(client, "list products", "GET", f"{api}/products", headers=me)
        if listed.is_error:
            continue
        products = listed.json()
        products = products["items"] if isinstance(products, dict) else products
        negative = [product["sku"] for product in products if product["available"] < 0]
        book.violations += [f"oversold: {sku} is below 0" for sku in negative]
        unsettled = [one for one in mine if one.intent == ABANDON and one.last.get("status") == "awaiting_payment"]
        intents = {name: share for name, share in INTENTS.items() if name != ABANDON or len(unsettled) < MOST_OPEN}
        intent = chance.choices(list(intents), list(intents.values()))[0]
        chosen = chance.sample(products, chance.choice((1, 1, 2, 3)))
        lines = [
            {"sku": one["sku"], "quantity": chance.choice((1, 1, 2)), "unit_price": one["price"]} for one in chosen
        ]
        key = {"Idempotency-Key": secrets.token_hex(8)}
        answer = await book.send(client, "place", "POST", f"{api}/orders", json={"lines": lines}, headers=me | key)
        if answer.is_error:
            continue
        document = answer.json()
        placed = Placed(
            document["id"],
            token,
            {line["sku"]: line["quantity"] for line in lines},
            Decimal(document["total"]),
            intent,
            last=document,
        )
        book.orders.append(placed)
        mine.append(placed)
        if intent == PAY:
            await _pay(client, book, api, placed)
        elif intent == CANCEL:
            await book.send(client, "cancel", "POST", f"{api}/orders/{placed.id}/cancel", headers=me)
        await _look(client, book, api, chance.choice(mine))


async def _pay(client: httpx.AsyncClient, book: Book, api: str, placed: Placed) -> None:
    me = {"Authorization": f"Bearer {placed.token}"}
    link = await book.send(client, "get the pay link", "POST", f"{api}/orders/{placed.id}/pay", headers=me)
    if link.is_error:
        return
    cashier = await book.send(client, "open the cashier", "GET", link.json()["pay_url"], follow_redirects=True)
    if cashier.is_error:
        return
    here = cashier.url.copy_with(query=None)
    if "/cashier/" in here.path:
        await book.send(client, "scan", "POST", f"{here}/scan")
        paid = await book.send(client, "pay", "POST", f"{here}/pay")
    else:  # the development gateway: a form of the shop's own
        token = cashier.cookies.get("csrftoken") or client.cookies.get("csrftoken") or ""
        found = cashier.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        headers = {"Cookie": f"csrftoken={token}", "Referer": str(here)}
        paid = await book.send(client, "pay", "POST", str(here), data={"csrfmiddlewaretoken": found}, headers=headers)
    placed.paid_at_cashier = not paid.is_error


async def _look(
    client: httpx.AsyncClient, book: Book, api: str, placed: Placed, step: str = "look at an order"
) -> None:
    me = {"Authorization": f"Bearer {placed.token}"}
    answer = await book.send(client, step, "GET", f"{api}/orders/{placed.id}", headers=me)
    if not answer.is_error:
        placed.last = answer.json()


async def settle_all(client: httpx.AsyncClient, book: Book, url: str, *, patience: float) -> None:
    """Wait until the last deadline is past, then look at every order until each is paid or cancelled.

    An order is not looked at before, because a look makes an overdue order lapse, and the worker is to do that. An
    order that is neither paid nor cancelled `patience` seconds later is a violation.
    """
    if book.orders:
        await asyncio.sleep(max(map(_window, book.orders)) + MARGIN)
    waiting = list(book.orders)
    end = time.monotonic() + patience
    while waiting and time.monotonic() < end:
        for start in range(0, len(waiting), TOGETHER):
            some = waiting[start : start + TOGETHER]
            await asyncio.gather(*(_look(client, book, f"{url}/api", one, "look at the end") for one in some))
        waiting = [one for one in waiting if one.last.get("status") not in ("paid", "cancelled")]
        await asyncio.sleep(0.5)
    book.violations += [f"order {one.id} is still {one.last.get('status')}" for one in waiting]


def _window(placed: Placed) -> float:
    times = (datetime.fromisoformat(placed.last[name]) for name in ("placed_at", "pay_by"))
    begun, ends = times
    return (ends - begun).total_seconds()
