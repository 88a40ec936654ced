"""The bar chart of the README, as SVG: how late, on a logarithmic scale, and how many per second.

It stands on a card of its own, in colours that are legible on a page of any colour. The text is the same for the
same rows, byte for byte.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks.rows import Results, Row
from benchmarks.scales import Scale, counts, times
from benchmarks.subjects import NAIVE
from benchmarks.table import cell, most_pending

FILE = Path(__file__).parent / "results" / "latest.svg"
WIDTH, LEFT, RIGHT = 860, 190, 96
"""Room for the names before the bars, and for the figures behind them."""
ROW, BAR, HEAD, GAP = 24, 14, 58, 26
"""Heights: of a line, of its bar, of a panel's title with its scale, between two panels."""
MARGIN = 20
OURS, OTHERS, TEXT, FAINT, LINE, CARD = "#0b7a75", "#b4532a", "#1f2933", "#52606d", "#d5dce3", "#ffffff"
STYLE = f"text{{font-family:system-ui,'Segoe UI',Helvetica,Arial,sans-serif;font-size:13px;fill:{TEXT}}}"
STYLE += f".title{{font-size:15px;font-weight:600}}.faint{{fill:{FAINT};font-size:12px}}"


@dataclass(frozen=True, slots=True)
class Panel:
    """A title and its bars: a row each, and where it ends on the scale, from 0 to 1."""

    title: str
    rows: Sequence[Row]
    ends: Sequence[float]
    scale: Scale

    @property
    def height(self) -> int:
        """In the units of the drawing."""
        return HEAD + ROW * len(self.rows)


def svg(results: Results) -> str:
    """Return the two panels as SVG."""
    pending = most_pending(results)
    late = [row for row in results.rows if row.measurement == "lateness p99" and _meant(row, pending)]
    burst = [row for row in results.rows if row.measurement == "burst drained"]
    panels = [
        _panel(f"Late by, in 99 of 100 orders, among {pending:,} pending (logarithmic scale)", late, times),
        _panel("Handed over per second by one worker, when all are due at one instant", burst, counts),
    ]
    height = 2 * MARGIN + sum(panel.height for panel in panels) + GAP
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="what">',
        f'<title id="what">{escape(_in_words(panels))}</title>',
        f"<style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" fill="{CARD}" stroke="{LINE}"/>',
    ]
    top = MARGIN
    for panel in panels:
        parts += _drawn(panel, top)
        top += panel.height + GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(title: str, rows: Sequence[Row], scale_of: Callable[[Sequence[float]], Scale]) -> Panel:
    values = [row.parameters["patience_s"] * 1000 if row.value is None else row.value for row in rows]
    scale = scale_of(values)
    return Panel(title, rows, [scale.share(value) for value in values], scale)


def _drawn(panel: Panel, top: int) -> Iterator[str]:
    room = WIDTH - LEFT - RIGHT
    bottom = top + HEAD + ROW * len(panel.rows) - 4
    yield f'<text class="title" x="{MARGIN}" y="{top + 14}">{escape(panel.title)}</text>'
    for share, name in panel.scale.ticks:
        x = f"{LEFT + room * share:.1f}"
        yield f'<line x1="{x}" y1="{top + 42}" x2="{x}" y2="{bottom}" stroke="{LINE}"/>'
        yield f'<text class="faint" x="{x}" y="{top + 36}" text-anchor="middle">{name}</text>'
    for place, (row, share) in enumerate(zip(panel.rows, panel.ends, strict=True)):
        y = top + HEAD + ROW * place - 8
        never = row.value is None  # the bar is as long as it was waited for, and open
        fill = OTHERS if row.mechanism == NAIVE or row.parameters.get("computed") else OURS
        yield f'<text x="{LEFT - 10}" y="{y + BAR - 2}" text-anchor="end">{escape(row.mechanism)}</text>'
        width, look = f"{room * share:.1f}", ' fill-opacity="0.35" stroke-dasharray="4 3"' if never else ""
        yield f'<rect x="{LEFT}" y="{y}" width="{width}" height="{BAR}" rx="2" fill="{fill}" stroke="{fill}"{look}/>'
        yield f'<text x="{LEFT + room * share + 8:.1f}" y="{y + BAR - 2}">{escape(cell(row))}</text>'


def _meant(row: Row, pending: int) -> bool:
    return bool(row.parameters.get("computed")) or row.parameters.get("pending") == pending


def _in_words(panels: Sequence[Panel]) -> str:
    return ". ".join(
        f"{panel.title}: " + ", ".join(f"{row.mechanism} {cell(row)}" for row in panel.rows) for panel in panels
    )
