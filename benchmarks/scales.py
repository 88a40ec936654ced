"""Scales for the chart: where a value lies between 0 and 1, and which values have a line of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

SECOND = 1000
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Scale:
    """`ticks` are the places of the lines, with what stands at them."""

    share: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


def times(values: Sequence[float]) -> Scale:
    """Return a logarithmic scale of milliseconds, between whole powers of ten; the shortest still shows as a bar."""
    low = floor(log10(max(min(values), 0.01)) - 0.1)
    high = max(ceil(log10(max(values))), low + 1)

    def share(value: float) -> float:
        return (log10(max(value, 10.0**low)) - low) / (high - low)

    named = ((10.0**power, share(10.0**power)) for power in range(low, high + 1))
    return Scale(share, [(at, f"{ms / SECOND:g} s" if ms >= SECOND else f"{ms:g} ms") for ms, at in named])


def counts(values: Sequence[float]) -> Scale:
    """Return a scale from 0 to a round number, in up to five steps."""
    rough = max(values) / 5
    size = 10.0 ** floor(log10(rough))
    step = next(size * factor for factor in STEPS if size * factor >= rough)
    top = step * ceil(max(values) / step)
    lines = [step * number for number in range(round(top / step) + 1)]
    return Scale(lambda value: value / top, [(line / top, f"{line:,.0f}") for line in lines])
