"""The geometry of a bar chart, in the units of its drawing. The page draws it as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

WIDTH, HEIGHT = 960, 260
LEFT, BOTTOM, TOP = 44, 28, 12
"""Space for the numbers at the left, the names below, and above the highest line."""

GAP = 0.28
"""The share of a group's width that separates the group from the next one."""

THICKEST = 36
"""The greatest width of a bar, so that a single day does not fill the chart."""

STEPS = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Bar:
    """One number, drawn."""

    series: str
    label: str
    value: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A line with its number, or the name below a group."""

    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that is drawn. `rows` are the same numbers for the table below the chart."""

    series: tuple[str, ...]
    bars: list[Bar]
    lines: list[Mark]
    names: list[Mark]
    rows: list[tuple[str, list[int]]]
    totals: list[int]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM
    name_line: int = HEIGHT - 8


def chart(groups: Sequence[tuple[str, Mapping[str, int]]], series: Sequence[str], *, name_every: int = 1) -> Chart:
    """Return a chart with a group of bars for each (name, number by series). Every `name_every`-th name is written."""
    top = _round_up(max((numbers.get(event, 0) for _, numbers in groups for event in series), default=0))
    scale = (HEIGHT - BOTTOM - TOP) / top
    room = (WIDTH - LEFT) / max(1, len(groups))
    thick = min(room * (1 - GAP) / len(series), THICKEST)
    bars = []
    for place, (name, numbers) in enumerate(groups):
        start = LEFT + room * (place + 0.5) - thick * len(series) / 2
        for offset, event in enumerate(series):
            value = numbers.get(event, 0)
            high = value * scale
            bars.append(
                Bar(
                    event,
                    name,
                    value,
                    _tenth(start + offset * thick),
                    _tenth(HEIGHT - BOTTOM - high),
                    _tenth(thick),
                    _tenth(high),
                )
            )
    rows = [(name, [numbers.get(event, 0) for event in series]) for name, numbers in groups]
    return Chart(
        series=tuple(series),
        bars=bars,
        lines=[Mark(f"{value:,}", _tenth(HEIGHT - BOTTOM - value * scale)) for value in _marks(top)],
        names=[
            Mark(name, _tenth(LEFT + room * (place + 0.5)))
            for place, (name, _) in enumerate(groups)
            if place % name_every == 0
        ],
        rows=rows,
        totals=[sum(numbers[place] for _, numbers in rows) for place in range(len(series))],
    )


def _round_up(number: int) -> int:
    """Return the next round number that divides well into four lines."""
    size = 4
    while True:
        for step in STEPS:
            if number <= size * step:
                return size * step
        size *= 10


def _marks(top: int) -> list[int]:
    return [ceil(top * quarter / 4) for quarter in range(5)]


def _tenth(number: float) -> float:
    return round(number, 1)
