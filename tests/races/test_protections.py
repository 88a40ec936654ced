"""Each protection can still be removed as it was when its tests were seen to fail, and the page says which tests."""

import re

import pytest

from tests.races.protections import CHECKOUT, PROTECTIONS, table


@pytest.mark.parametrize("name", PROTECTIONS)
def test_a_protection_is_where_it_was(name: str) -> None:
    """Each text to cut is in its file once, and each test is there. `python -m tests.races` sees the tests fail."""
    protection = PROTECTIONS[name]
    for cut in protection.cuts:
        assert (CHECKOUT / cut.file).read_text(encoding="utf-8").count(cut.text) == 1, f"{cut.file}: {cut.text}"
    for file, tests in protection.tests.items():
        defined = re.findall(r"^def (test_\w+)\(", (CHECKOUT / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert {test.partition("[")[0] for test in tests} <= set(defined), file


def test_the_page_says_what_was_seen() -> None:
    """The page of the races has one line for each protection."""
    page = (CHECKOUT / "docs/explanation/races.md").read_text(encoding="utf-8")
    assert table() in page, f"docs/explanation/races.md needs this table:\n{table()}"
