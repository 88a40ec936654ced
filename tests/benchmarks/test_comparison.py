"""The comparison in its short form, so that it cannot rot, and what it prints and refuses."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import chart, measuring, rows
from benchmarks.__main__ import LEFT_OUT, wrong
from benchmarks.hanging_gateway import ALONE, BESIDE
from benchmarks.places import Place, schemes
from benchmarks.polling import NAME as POLLING
from benchmarks.rows import Results, Row, percentile, rounded
from benchmarks.scene import NoServer
from benchmarks.sizes import QUICK
from benchmarks.subjects import NAIVE, NaiveListener
from benchmarks.table import Column, lines, markdown
from lapse.config import MECHANISMS
from lapse.testing.servers import ServerFailed

ROOT = Path(__file__).parents[2]
BENCH = [sys.executable, "-m", "benchmarks"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run([*BENCH, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=800)


def kinds(results: Results, mechanism: str) -> set[str]:
    """Return the names of what was measured of a mechanism."""
    return {row.measurement for row in results.rows if row.mechanism == mechanism}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_short_form(tmp_path: Path) -> None:
    """Every mechanism yields every figure; none is early, none loses an order or does anything twice."""
    chosen = schemes()
    file = tmp_path / "results.json"
    done = run("--quick", "--json", str(file), "--only", ",".join([*chosen, NAIVE]))
    assert done.returncode == 0, done.stdout + done.stderr
    results = rows.read(file)
    out = [name for name in chosen if f"{LEFT_OUT}{name}: " in done.stderr]
    assert not (out and os.environ.get("CI")), done.stderr
    measured = [name for name in chosen if name not in out]
    beside = [ALONE, BESIDE] if chosen == schemes() else []
    assert results.mechanisms() == [*measured, NAIVE, *beside, POLLING]
    for name in beside:
        assert kinds(results, name) == {f"order lateness {figure}" for figure in ("p50", "p99", "max")}
    every = kinds(results, NAIVE)
    assert len(every) == 19
    for mechanism in measured:
        assert kinds(results, mechanism) == every, mechanism
        own = [row for row in results.rows if row.mechanism == mechanism]
        assert all(row.value is not None for row in own), mechanism
        for row in own:
            if row.measurement == "lateness earliest":
                assert row.value is not None
                assert row.value >= 0, mechanism
            if row.measurement.endswith(("never cancelled", "effects doubled")):
                assert row.value == 0, f"{mechanism}: {row.measurement}"
            if row.measurement == "fired in time to be counted":
                assert row.value == 100, mechanism
    assert not {str(ROOT), str(Path.home())} & set(file.read_text().split('"')), "a path of this machine"


def test_every_mechanism_is_measured() -> None:
    """A mechanism on a server of a new kind needs its entry in benchmarks/places.py."""
    measured = {MECHANISMS[scheme][0] for scheme in schemes()}
    assert measured == {module for module, _ in MECHANISMS.values()}


def test_a_mechanism_without_its_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mechanism is left out by name, with the server's own hint on what to install."""

    def start(_folder: Path) -> Place:
        raise ServerFailed("install it")

    monkeypatch.setattr(measuring, "subjects", lambda: {"pigeon": (start, NaiveListener)})
    with pytest.raises(NoServer, match="pigeon: install it"):
        measuring.rates("pigeon", QUICK, print)


def test_the_committed_figures_are_of_a_full_run() -> None:
    """With the baseline in it and every mechanism that there is, and with nothing wrong."""
    results = rows.read()
    assert set(results.mechanisms()) - {ALONE, BESIDE} == {*schemes(), NAIVE, POLLING}
    assert results.header["form"] == "full"
    assert not wrong(results)


def test_the_chart_is_drawn_from_the_figures() -> None:
    """Byte for byte; `make bench` draws the chart again."""
    assert chart.FILE.read_text(encoding="utf-8") == chart.svg(rows.read())


def sample(values: Sequence[tuple[str, str, float | None, str]]) -> Results:
    """Return results with these figures."""
    about = {"patience_s": 3.0, "pending": 10}
    return Results({}, [Row(name, what, value, unit, about) for name, what, value, unit in values])


def test_a_lost_order_or_a_doubled_effect_is_wrong() -> None:
    """No mechanism of Lapse may lose an order or double an effect; the naive listener may."""
    assert wrong(sample([("redis", "worker killed: never cancelled", 1, "orders")]))
    assert wrong(sample([("redis", "server killed: effects doubled", 2, "orders")]))
    assert wrong(sample([("redis", "lateness p50", None, "ms")]))
    assert not wrong(sample([("redis", "worker killed: never cancelled", 0, "orders")]))
    assert not wrong(sample([(NAIVE, "worker killed: never cancelled", 9, "orders")]))


def test_cells_are_short_and_say_what_never_came() -> None:
    """Three digits, a unit where the heading has none, and the patience for what was not seen."""
    results = sample(
        [
            ("a", "lateness p99", 0.84321, "ms"),
            ("b", "lateness p99", 19_912.0, "ms"),
            ("c", "lateness p99", None, "ms"),
            ("a", "burst drained", 98_765, "per s"),
        ]
    )
    table = lines(results, [Column("p99", "lateness p99", {"pending": 10}), Column("drained", "burst drained")])
    assert table == [
        ["mechanism", "p99", "drained"],
        ["a", "0.843 ms", "98,800"],
        ["b", "19.9 s", ""],
        ["c", "> 3 s", ""],
    ]
    assert markdown(table).splitlines()[1] == "| --- | ---: | ---: |"


def test_percentiles_are_values_that_were_seen() -> None:
    """The share below or at it is at least what was asked for; what never came counts as infinitely late."""
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.5, 0.75, 0.99, 1.0)] == [2.0, 3.0, 4.0, 4.0]
    assert rounded(percentile([1.0, float("inf")], 0.99)) is None
    assert rounded(12_345.6) == 12_350


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--only", "carrier-pigeon"], "there is no carrier-pigeon: choose from"),
        (["--quick", "--json", str(rows.RESULTS)], "the pages tell of a full run"),
    ],
)
def test_a_wrong_call_is_refused(words: list[str], says: str) -> None:
    """A wrong call ends with status 2 and says what would be right; nothing is measured."""
    done = run(*words)
    assert done.returncode == 2
    assert says in done.stderr
