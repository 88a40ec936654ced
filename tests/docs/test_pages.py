"""What the pages tell a reader to do works, in the order of the page."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lapse.testing.servers import RedisServer
from tests.docs.pages import PAGES, RUNNABLE, Step, name_of, steps
from tests.docs.reader import Reader, assert_printed


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Start the Redis that the pages say the reader has."""
    with RedisServer() as server:
        yield server


FIRST_READ = {"README.md", "examples/README.md"}
"""The pages that `make test` does. `make test-long` does the others."""

DONE = [
    pytest.param(page, id=name_of(page), marks=() if name_of(page) in FIRST_READ else pytest.mark.long)
    for page in PAGES
    if any(step.is_done for step in steps(page))
]


@pytest.mark.parametrize("page", DONE)
def test_a_reader_gets_what_the_page_says(page: Path, tmp_path: Path, redis: RedisServer) -> None:
    """Every block is run as it stands, and what it is said to print is printed."""
    redis.ask("FLUSHALL")
    folder = tmp_path / "reader"
    folder.mkdir()
    with Reader(folder, redis.url) as reader:
        for step in steps(page):
            reader.do(step)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_not_run_has_its_reason(page: Path) -> None:
    """A block that could be run and is not says why."""
    for step in steps(page):
        if step.order == "not run":
            assert step.detail, f"{page.name}:{step.line}"
            assert step.language in RUNNABLE, f"{page.name}:{step.line} is not run anyway"


def test_a_wrong_page_is_found(tmp_path: Path) -> None:
    """A block that fails, and one that prints something else, are errors."""
    with Reader(_folder(tmp_path / "one"), "") as reader, pytest.raises(AssertionError, match="line 1 failed"):
        reader.do(Step(1, language="python", text="raise SystemExit(1)"))
    with Reader(_folder(tmp_path / "two"), "") as reader:
        reader.do(Step(1, language="sh", text="echo cancelled stock 3"))
        reader.do(Step(2, order="output", text="cancelled …\n"))
        with pytest.raises(AssertionError, match="no line"):
            reader.do(Step(3, order="output", text="paid …\n"))


def test_lines_are_compared_in_their_order() -> None:
    """Two right lines in the wrong order are wrong."""
    assert_printed("one\ntwo\n", "one\nand a half\ntwo\n")
    with pytest.raises(AssertionError):
        assert_printed("two\none\n", "one\ntwo\n")


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
