"""An answer that is the first event of a stream.

Under `shop.asgi` it stays open and goes on. Any other server sends the one event and ends; the browser then asks again
by itself, so the page works there too.
"""

import json
from collections.abc import Mapping
from enum import Enum

from django.http import HttpResponse

from shop.live.feed import State


class Kind(Enum):
    """What a stream tells of; the value is the name of its events."""

    ORDERS = "order"
    STOCK = "stock"


class EventStream(HttpResponse):
    """A stream of `kind` about the things of which `first` is told at once, by their keys.

    `owner` says for whom it is counted among those that are open.
    """

    def __init__(self, kind: Kind, first: Mapping[int, State], *, owner: str) -> None:
        begin = b"retry: 2000\n\n"  # milliseconds after which a browser opens a stream again that has ended
        super().__init__(
            begin + b"".join(event(kind, state) for state in first.values()),
            content_type="text/event-stream; charset=utf-8",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self.kind = kind
        self.first = first
        self.owner = owner


def event(kind: Kind, state: State) -> bytes:
    """Write one event."""
    return f"event: {kind.value}\ndata: {json.dumps(state, separators=(',', ':'))}\n\n".encode()
