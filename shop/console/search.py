"""Searching orders by status, reason, day, and by number or buyer: page by page, without counting all orders."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import QueryDict

from shop.orders.models import Order, Reason, Status

LARGEST_ID = 2**63 - 1
"""The largest primary key that the database can store."""

PAGE = 50
MOST_BUYERS = 100
"""The greatest number of buyers that an incomplete address may match."""
SHORTEST = 3
"""The least number of characters of a search text."""


@dataclass(frozen=True, slots=True)
class Search:
    """The filters; "" or None is no filter. `text` is the beginning of an order's number or of a buyer's address."""

    status: str = ""
    reason: str = ""
    day: date | None = None
    text: str = ""

    @classmethod
    def read(cls, query: QueryDict) -> "Search":
        """Return the search in a URL's query. A filter with an invalid value is left out."""
        status, reason = query.get("status", ""), query.get("reason", "")
        return cls(
            status=status if status in Status.values else "",
            reason=reason if reason in Reason.values else "",
            day=_day(query.get("day", "")),
            text=query.get("q", "").replace("\0", "").strip()[:150],
        )

    @property
    def address(self) -> str:
        """The search as a URL's query, with "&" at its end unless it is empty."""
        filters = {
            "status": self.status,
            "reason": self.reason,
            "day": self.day.isoformat() if self.day else "",
            "q": self.text,
        }
        query = urlencode({name: value for name, value in filters.items() if value})
        return f"{query}&" if query else ""

    @property
    def too_short(self) -> bool:
        """Whether the text is too short to search for."""
        return 0 < len(self.text) < SHORTEST


@dataclass(frozen=True, slots=True)
class Page:
    """Orders, newest first, and the ids at which the next and the previous page begin (None: no such page)."""

    orders: list[Order]
    newer: int | None
    older: int | None


def find(search: Search, *, before: int | None = None, after: int | None = None) -> Page:
    """Return one page: the orders just older than the id `before`, or just newer than the id `after`."""
    orders = matching(search)
    if after is not None:
        found = list(orders.filter(pk__gt=after).order_by("id")[: PAGE + 1])
        more = len(found) > PAGE
        found = found[:PAGE][::-1]
        return Page(found, found[0].pk if found and more else None, found[-1].pk if found else after + 1)
    if before is not None:
        orders = orders.filter(pk__lt=before)
    found = list(orders.order_by("-id")[: PAGE + 1])
    more = len(found) > PAGE
    found = found[:PAGE]
    newer = (found[0].pk if found else before - 1) if before is not None else None
    return Page(found, newer, found[-1].pk if more else None)


def matching(search: Search) -> QuerySet[Order]:
    """Return the orders that the search finds, with their buyers."""
    orders = Order.objects.select_related("buyer")
    if search.too_short:
        return orders.none()
    if search.status:
        orders = orders.filter(status=search.status)
    if search.reason:
        orders = orders.filter(cancel_reason=search.reason)
    if search.day:
        since = datetime.combine(search.day, time.min, UTC)
        orders = orders.filter(placed_at__gte=since, placed_at__lt=since + timedelta(days=1))
    if "@" in search.text or not search.text.isalnum():
        return orders.filter(buyer__in=_buyers(search.text)) if search.text else orders
    if Order.objects.filter(public_id__startswith=search.text.lower()).exists():
        return orders.filter(public_id__startswith=search.text.lower())
    return orders.filter(buyer__in=_buyers(search.text))


def id_in(text: str) -> int | None:
    """Return the id in a text that a browser sent, LARGEST_ID at most; None if the text is no id."""
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_ID))
    return min(int(text), LARGEST_ID) if digits else None


def _buyers(text: str) -> list[int]:
    found = User.objects.filter(username__startswith=text.lower()).order_by("username")
    return list(found.values_list("pk", flat=True)[:MOST_BUYERS])


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 1970 <= day.year < 9999 else None  # noqa: PLR2004  # the years that a day after it exists in
