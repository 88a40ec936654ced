"""One figure each: the rows of `results/latest.json`, and what stands above them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, inf
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "latest.json"
DIGITS = 4
"""Significant ones; the rest is noise."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. A `value` of None is one that did not come within `parameters["patience_s"]`."""

    mechanism: str
    measurement: str
    value: float | None
    unit: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Results:
    """All figures of one run, and where and when they were measured."""

    header: Mapping[str, Any]
    rows: Sequence[Row]

    def rows_of(self, measurement: str) -> list[Row]:
        """Return all rows of one measurement. Raises LookupError where there is none."""
        found = [row for row in self.rows if row.measurement == measurement]
        if not found:
            raise LookupError(f"{measurement!r} was not measured")
        return found

    def mechanisms(self) -> list[str]:
        """Return the names of what was measured, in the order of the rows."""
        return list(dict.fromkeys(row.mechanism for row in self.rows))

    def write(self, file: Path) -> None:
        """Write them, one line for each row, so that a change shows in a diff."""
        rows = ",\n".join(f"    {json.dumps(asdict(row), ensure_ascii=False)}" for row in self.rows)
        header = json.dumps(self.header, indent=2, ensure_ascii=False).replace("\n", "\n  ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'{{\n  "header": {header},\n  "rows": [\n{rows}\n  ]\n}}\n', encoding="utf-8")


def read(file: Path = RESULTS) -> Results:
    """Return the results that a file has."""
    document = json.loads(file.read_text(encoding="utf-8"))
    return Results(document["header"], [Row(**row) for row in document["rows"]])


def rounded(value: float) -> float | None:
    """Return the value in few digits; None for infinity, which stands for what never came."""
    if value == inf:
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() else short


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value at or below which this share of the ordered values lies."""
    return ordered[max(ceil(len(ordered) * share) - 1, 0)]


def median(values: Iterable[float]) -> float:
    """Return the middle value; of an even number of values the lower one."""
    return percentile(sorted(values), 0.5)
