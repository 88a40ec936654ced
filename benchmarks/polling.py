"""Polling every minute: computed, not measured, because nothing but the interval decides."""

from collections.abc import Iterator

from benchmarks.rows import Row

NAME = "polling every minute"
INTERVAL = 60.0


def polling() -> Iterator[Row]:
    """Yield the lateness of polling: between two looks an order falls due at any moment, so from 0 to the interval."""
    for name, share in (("earliest", 0.0), ("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        value = share * INTERVAL * 1000
        yield Row(NAME, f"lateness {name}", int(value), "ms", {"interval_s": INTERVAL, "computed": True})
