"""The pages of the documentation, taken apart into what a reader would do.

An HTML comment, which no reader sees, says what a test is to do with the fenced block below it:

    <!-- file: path -->        the block is this file
    <!-- append: path -->      the block goes to the end of this file
    <!-- django -->            Python, by `manage.py shell`
    <!-- until: text -->       run it until it has printed this, then SIGTERM; it must end well
    <!-- meanwhile: text -->   as `until`, but it goes on while the next blocks run
    <!-- output -->            the block before printed these lines, in this order; `…` stands for anything
    <!-- not run: why -->      nothing

A block of `python` or `sh` without a comment is run as it stands and must succeed; blocks of other languages are for
reading. Four comments stand alone:

    <!-- shop: folder -->      begin with a copy of this folder of the checkout
    <!-- environment: name --> from here on, the programs are those of the environment `.venv-name`
    <!-- run: command -->      run it, although the page does not show it
    <!-- stop -->              end what runs meanwhile

What stands between `<!-- made: name -->` and `<!-- made: end -->` is made by a program: made.py.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGES = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((CHECKOUT / "docs").rglob("*.md")),
    *sorted((CHECKOUT / "examples").rglob("*.md")),
]
RUNNABLE = {"python", "sh"}
ON_A_BLOCK = {"file", "append", "django", "until", "meanwhile", "output", "not run"}
ALONE = {"shop", "environment", "run", "stop", "made"}

_COMMENT = re.compile(r"<!-- (?P<order>[a-z ]+?)(?:: (?P<detail>.+?))? -->")
_FENCE = re.compile(r"(?P<ticks>```+)(?P<language>\w*)$")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: `order` and `detail` are the comment's, both empty where there is none."""

    line: int
    order: str = ""
    detail: str = ""
    language: str = ""
    text: str = ""

    @property
    def is_done(self) -> bool:
        """Whether there is anything for a test to do."""
        return bool(self.order) or self.language in RUNNABLE


def steps(page: Path) -> Iterator[Step]:
    """Yield the steps of a page in its order. Raise AssertionError for a comment that has no meaning here."""
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    order, detail = "", ""
    for number, line in lines:
        where = f"{page.name}:{number}"
        if found := _COMMENT.fullmatch(line):
            assert not order, f"{where}: the comment above it stands over no block"
            order, detail = found["order"], found["detail"] or ""
            assert order in ON_A_BLOCK | ALONE, f"{where}: no such comment is known: {line}"
            if order in ALONE:
                if order != "made":
                    yield Step(number, order, detail)
                order, detail = "", ""
        elif found := _FENCE.fullmatch(line):
            text = ""
            for _, inside in lines:
                if inside == found["ticks"]:
                    break
                text += inside + "\n"
            yield Step(number, order, detail, found["language"], text)
            order, detail = "", ""
        elif line.strip():
            assert not order, f"{where}: the comment above it stands over no block"


def prose(page: Path) -> str:
    """Return the page without its fenced blocks and comments."""
    text = re.sub(r"^(```+)\w*\n.*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def name_of(page: Path) -> str:
    """Name a page by its path in the checkout."""
    return str(page.relative_to(CHECKOUT))
