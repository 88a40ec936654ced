"""What people read is plain English: docstrings, comments, messages, pages, templates, scripts."""

from pathlib import Path

import pytest

from tests.docs.pages import CHECKOUT
from tests.docs.register import COMMENTS, LINES, PROSE, findings

ROOMS = [
    *sorted(path.name for path in (CHECKOUT / "src" / "lapse").iterdir() if path.is_dir() and path.name[0].isalpha()),
    "shop",
    "tests",
    "benchmarks",
    "docs",
    "examples",
]
LEFT_OUT = {"migrations", "__pycache__", "register.py", "test_register.py"}


def files_of(room: str) -> list[Path]:
    """Return the room's files that hold sentences."""
    package = CHECKOUT / "src" / "lapse" / room
    folder = package if package.is_dir() else CHECKOUT / room
    suffixes = {".py", *PROSE, *LINES, *COMMENTS}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in suffixes and not LEFT_OUT & set(path.relative_to(folder).parts)
    )


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_written_in_plain_english(room: str) -> None:
    """No banned word, no doubled full stop, no long sentence; "Return" says what a function returns."""
    found = [found for path in files_of(room) for found in findings(path, returns=room != "tests")]
    assert not found, "\n".join(map(str, found))


def test_what_stands_in_no_room_is_written_in_plain_english() -> None:
    """The pages and the modules at the top."""
    paths = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    paths += sorted((CHECKOUT / "src" / "lapse").glob("*.py"))
    found = [found for path in paths for found in findings(path, returns=True)]
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.py", '"""Something that nobody reads."""\n', "nobody"),
        ("a.py", '"""A module."""\n\n\ndef f() -> int:\n    """Give what it returns."""\n', "Give"),
        ("a.py", '"""A module."""\n\n\ndef f() -> int:\n    """The number of it."""\n', "Return"),
        ("a.py", '"""A module."""\n\nX = 1  # counted from nought\n', "nought"),
        ("a.py", '"""A module."""\n\nraise ValueError("the server was told twice")\n', "told"),
        ("a.py", '"""A module.."""\n', "doubled"),
        ("a.md", "# A page\n\n" + "word " * 26 + "end.\n", "27 words"),
        ("a.lua", "-- whoever holds it\n", "whoever"),
    ],
)
def test_each_rule_finds_its_fault(name: str, text: str, what: str, tmp_path: Path) -> None:
    """A file that breaks one rule has one finding, which names it."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    (found,) = findings(path, returns=True)
    assert what in str(found)


def test_plain_english_has_no_finding(tmp_path: Path) -> None:
    """Code in backquotes and a banned word inside another word are left alone."""
    path = tmp_path / "a.py"
    path.write_text('"""Return what `told` holds, as Leicester and the unheard do."""\n', encoding="utf-8")
    assert not list(findings(path, returns=True))
