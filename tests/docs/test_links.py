"""Links lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import CHECKOUT, PAGES, name_of, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(page)))
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_resolves(page: Path) -> None:
    """A link to a file finds it, one to a heading finds the heading, and no path leaves the checkout."""
    for target in LINK.findall(prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.is_relative_to(CHECKOUT), f"{page.name}: {target} leaves the checkout"
        assert found.exists(), f"{page.name}: {target} leads nowhere"
        if anchor:
            assert anchor in anchors(found), f"{page.name}: {found.name} has no heading #{anchor}"


def test_every_page_can_be_found() -> None:
    """The index leads, in one step or more, to every page of the documentation."""
    seen: set[Path] = set()
    todo = [CHECKOUT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        paths = (target.partition("#")[0] for target in LINK.findall(prose(page)) if "://" not in target)
        todo += [found for path in paths if (found := (page.parent / path).resolve()).suffix == ".md"]
    missing = [page for page in PAGES if page.is_relative_to(CHECKOUT / "docs") and page not in seen]
    assert not missing, f"no way leads from docs/index.md to {missing}"
