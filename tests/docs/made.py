"""Parts of pages that a program writes: `python -m tests.docs.made` brings them up to date.

Such a part stands between two comments, `<!-- made: name -->` and `<!-- made: end -->`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import pages
from tests.docs.fault_table import fault_table
from tests.docs.pages import CHECKOUT, name_of
from tests.docs.traits_table import traits_table
from tests.docs.url_tables import url_tables

END = "<!-- made: end -->"
PARTS: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    CHECKOUT / "README.md": {"comparison": pages.readme},
    CHECKOUT / "docs" / "explanation" / "choosing.md": {"figures": pages.figures, "crashes": pages.crashes},
    CHECKOUT / "docs" / "reference" / "alipay-simulator.md": {"faults": fault_table},
    CHECKOUT / "docs" / "reference" / "timer.md": {"traits": traits_table},
    CHECKOUT / "docs" / "reference" / "urls.md": {"options": url_tables},
}
"""By page, by name: what makes the part."""


def page_with(text: str, name: str, part: str) -> str:
    """Return the page's text with this part in its place. Raise AssertionError if it has no place or two."""
    begin = f"<!-- made: {name} -->\n"
    assert text.count(begin) == 1, f"a place for {name} is {begin.strip()} and {END}, once"
    before, _, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    assert end, f"{begin.strip()} has no {END}"
    return f"{before}{begin}\n{part.strip()}\n\n{END}{after}"


def made(page: Path) -> str:
    """Return the page with all its parts up to date."""
    text = page.read_text(encoding="utf-8")
    for name, make in PARTS[page].items():
        text = page_with(text, name, make())
    return text


if __name__ == "__main__":
    for page in PARTS:
        text = made(page)
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(f"{name_of(page)} is up to date")  # noqa: T201 - it says what it did
