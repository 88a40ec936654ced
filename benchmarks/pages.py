"""The parts of the pages that are made from the figures."""

from textwrap import fill

from benchmarks import chart, rows
from benchmarks.rows import Results
from benchmarks.table import (
    RATES,
    SERVER_KILLED,
    WORKER_KILLED,
    lateness_columns,
    lines,
    markdown,
)

WIDTH = 120
"""Of the lines on the pages."""


def readme() -> str:
    """Return the chart, and where it was measured."""
    results = rows.read()
    path = chart.FILE.relative_to(rows.RESULTS.parents[2])
    bars = f"![Bars: how late each mechanism is, and how many orders per second it hands over]({path})"
    return f"{bars}\n\n{where(results)}"


def figures() -> str:
    """Return every figure of lateness and of rates."""
    results = rows.read()
    parts = [
        "Seconds after the deadline at which a handler is called, among so many pending orders:",
        markdown(lines(results, lateness_columns(results))),
        fill(
            f"Rates and weight. A burst is {_most(results, 'burst drained')} orders at one instant, or as many as can "
            "be armed in a few seconds:",
            WIDTH,
        ),
        markdown(lines(results, RATES)),
        where(results),
    ]
    return "\n\n".join(parts)


def crashes() -> str:
    """Return what crashes cost."""
    results = rows.read()
    burst = results.rows_of("worker killed: longest delay")[0].parameters
    spread = results.rows_of("server killed: longest delay")[0].parameters
    worker = (
        f"A worker is killed amid a burst of {burst['orders']:,} orders, when half of its batch is done but not "
        f"settled. Another worker is started at once. A lease lasts {burst['lease_s']:g} s:"
    )
    server = (
        f"The server is killed while {spread['orders']:,} orders fall due over {spread['spread_s']:g} s, and started "
        "again at once. Where there is no server, the worker's process is killed:"
    )
    return "\n\n".join(
        [
            fill(worker, WIDTH),
            markdown(lines(results, WORKER_KILLED)),
            fill(server, WIDTH),
            markdown(lines(results, SERVER_KILLED)),
        ]
    )


def where(results: Results) -> str:
    """Return where, when and with what was measured."""
    about, machine = results.header, results.header["machine"]
    return fill(
        f"Measured on {about['measured']} at revision {about['revision']}, on one machine with {machine['cores']} "
        f"cores ({machine['processor']}) and {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {about['python']}: "
        f"{'; '.join(dict.fromkeys(about['places'].values()))}. "
        "Load, worker and server share the machine and its clock. Polling is computed.",
        WIDTH,
    )


def _most(results: Results, measurement: str) -> str:
    return f"{max(row.parameters['orders'] for row in results.rows_of(measurement)):,}"
