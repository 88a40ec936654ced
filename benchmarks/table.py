"""The figures as people read them: one line for each mechanism, in a terminal and in Markdown alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.rows import Results, Row

SECOND = 1000
NEVER = "never"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, the measurement below it, and which of its parameters are meant."""

    heading: str
    measurement: str
    parameters: Mapping[str, object] = field(default_factory=dict)


def lateness_columns(results: Results) -> list[Column]:
    """Return columns: the earliest, and p50, p99 and the latest for each number of pending orders."""
    found = [Column("earliest", "lateness earliest", {"pending": most_pending(results)})]
    for pending in pending_sizes(results):
        found += [
            Column(f"{name} among {pending:,}", f"lateness {name}", {"pending": pending})
            for name in ("p50", "p99", "max")
        ]
    return found


RATES = (
    Column("drained per s", "burst drained"),
    Column("armed in bulk per s", "armed in bulk"),
    Column("armed one by one per s", "armed one by one"),
    Column("bytes each", "weight of a pending deadline"),
)
WORKER_KILLED = (
    Column("never cancelled", "worker killed: never cancelled"),
    Column("handed out again", "worker killed: handed out again"),
    Column("effects doubled", "worker killed: effects doubled"),
    Column("longest delay", "worker killed: longest delay"),
)
SERVER_KILLED = (
    Column("away", "server killed: away"),
    Column("deadlines it lost", "server killed: deadlines it lost"),
    Column("armed again after", "server killed: armed again after"),
    Column("never cancelled", "server killed: never cancelled"),
    Column("effects doubled", "server killed: effects doubled"),
    Column("longest delay", "server killed: longest delay"),
)
HANGING = tuple(Column(name, f"order lateness {name}") for name in ("p50", "p99", "max"))


def pending_sizes(results: Results) -> list[int]:
    """Return among how many far orders lateness was measured, ascending."""
    return sorted({row.parameters["pending"] for row in results.rows if "pending" in row.parameters})


def most_pending(results: Results) -> int:
    """Return the largest number of far orders."""
    return pending_sizes(results)[-1]


def lines(results: Results, columns: Sequence[Column]) -> list[list[str]]:
    """Return the headings, then the cells of each mechanism that has any of these figures."""
    table = [["mechanism", *(column.heading for column in columns)]]
    for name in results.mechanisms():
        own = [row for row in results.rows if row.mechanism == name]
        cells = [_cell(own, column) for column in columns]
        if any(cells):
            table.append([name, *cells])
    return table


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return the table in Markdown, numbers to the right."""
    head, *rows = table
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def plain(table: Sequence[Sequence[str]]) -> str:
    """Return the table for a terminal."""
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    )


def cell(row: Row) -> str:
    """Return one figure, short, with its unit where the heading does not have the unit."""
    if row.value is None:
        return f"> {row.parameters['patience_s']:g} s" if row.unit == "ms" else NEVER
    if row.unit in ("orders", "bytes"):
        return f"{row.value:,.0f}"
    value, unit = (row.value / SECOND, "s") if row.unit == "ms" and row.value >= SECOND else (row.value, row.unit)
    short = float(f"{value:.3g}")
    number = f"{short:,.0f}" if short >= 100 else f"{short:g}"  # noqa: PLR2004 - three digits
    return f"{number} {unit}" if unit in ("ms", "s", "%") else number


def _cell(rows: Sequence[Row], column: Column) -> str:
    for row in rows:
        # What was computed holds for any number of orders.
        wanted = {} if row.parameters.get("computed") else column.parameters
        if row.measurement == column.measurement and wanted.items() <= dict(row.parameters).items():
            return cell(row)
    return ""
