"""The shop's texts: found in its code and templates, and kept in locale/, without any tool but Babel.

`python -m tests.shop.messages` updates the .po and compiles it. A person then translates the new texts there and runs
the command again.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po

SHOP = Path(__file__).resolve().parents[2] / "shop"
FOLDER = SHOP / "locale" / "zh_Hans" / "LC_MESSAGES"
PO, MO = FOLDER / "django.po", FOLDER / "django.mo"

KEYWORDS = {
    **dict.fromkeys(("_", "gettext", "gettext_lazy", "gettext_noop")),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), ((1, "c"), 2, 3)),
}


def find() -> Catalog:
    """Extract every text that is marked for translation."""
    catalog = Catalog(locale="zh_Hans", fuzzy=False)
    for file, code in _sources():
        for _line, texts, _comments, context in extract("python", io.BytesIO(code.encode()), keywords=KEYWORDS):
            catalog.add(texts, locations=[(file, 0)], context=context)
    return catalog


def _sources() -> Iterator[tuple[str, str]]:
    """Yield each file's name and its texts as Python code."""
    from django.utils.translation.template import templatize  # noqa: PLC0415 - needs Django's settings

    for file in sorted(SHOP.rglob("*")):
        name = file.relative_to(SHOP).as_posix()
        if file.suffix == ".py" and "migrations" not in file.parts:
            yield name, file.read_text()
        elif file.suffix in (".html", ".txt") and "templates" in file.parts:
            # Django's own way: what is no text of ours becomes X, and each text a call. Babel wants valid code.
            yield name, "\n".join(_calls(templatize(file.read_text(), origin=name)))


def _calls(code: str) -> Iterator[str]:
    """Keep the calls of a template that was made into code; a text never ends in the middle of its line."""
    text = code.replace("\n", "\\n")
    starts = [" gettext(", " pgettext(", " ngettext(", " npgettext("]
    position = 0
    while True:
        found = [(text.find(start, position), start) for start in starts]
        found = [(at, start) for at, start in found if at >= 0]
        if not found:
            return
        at, start = min(found)
        end = _end(text, at + len(start))
        yield text[at + 1 : end]
        position = end


def _end(text: str, at: int) -> int:
    """Find the bracket that ends the call whose arguments begin here."""
    quote = ""
    while True:
        letter = text[at]
        if letter == "\\":
            at += 1
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == ")":
            return at + 1
        at += 1


def kept(file: Path) -> Catalog:
    """Read a .po or .mo."""
    with file.open("rb") as opened:
        return read_po(opened, locale="zh_Hans") if file.suffix == ".po" else read_mo(opened)


def update() -> int:
    """Write both files again and return how many texts need a translation."""
    catalog = kept(PO) if PO.exists() else Catalog(locale="zh_Hans")
    made = catalog.creation_date
    catalog.update(find(), no_fuzzy_matching=True)
    catalog.creation_date = made
    catalog.obsolete.clear()
    catalog.fuzzy = False
    catalog.project, catalog.header_comment = "The shop", "# The shop's texts in Simplified Chinese."
    catalog.version = catalog.msgid_bugs_address = catalog.last_translator = catalog.language_team = ""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with PO.open("wb") as file:
        write_po(file, catalog, width=120, no_location=True, sort_output=True, omit_header=False)
    with MO.open("wb") as file:
        write_mo(file, catalog)
    return len(untranslated(catalog))


def untranslated(catalog: Catalog) -> list[Message]:
    """List the texts that have no translation, or a doubtful one."""
    return [
        message
        for message in catalog
        if message.id
        and (message.fuzzy or not all(message.string if isinstance(message.string, tuple) else (message.string,)))
    ]


if __name__ == "__main__":
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    wanting = update()
    print(f"{PO}: {wanting} texts need a translation")  # noqa: T201 - a command says what it did
    sys.exit(1 if wanting else 0)
