"""Write the reference of the command line: `python -m tests.docs.cli_reference`."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from lapse.cli.app import app
from tests.docs.pages import CHECKOUT

PAGE = CHECKOUT / "docs" / "reference" / "cli.md"


def reference() -> str:
    """Describe every command, its arguments and its options, from what `--help` has to say."""
    lines = ["# Command line", ""]
    lines += ["Made from the commands themselves by `python -m tests.docs.cli_reference`.", ""]
    for path, command in commands(typer.main.get_command(app), "lapse"):
        lines += [f"{'#' * min(len(path.split()) + 1, 3)} `{path}`", "", *_paragraphs(command.help or ""), ""]
        if rows := [_row(parameter) for parameter in command.params if parameter.name != "version"]:
            lines += ["| argument or option | meaning | unless given |", "| --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


# typer may bring a copy of click along, so commands and parameters are of no class that has one name.


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield a command and its subcommands, each with the words that a user types for it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}")


def _row(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    name = ", ".join(parameter.opts) if is_option else parameter.metavar or parameter.name.upper()
    default = parameter.default
    plain = isinstance(default, int | float | str) and not isinstance(default, bool)
    unless = f"{default:g}" if isinstance(default, float) else str(default) if plain else ""
    if parameter.required:
        unless = f"the variable `{parameter.envvar}`" if parameter.envvar else "an error"
    return f"| `{name}` | {getattr(parameter, 'help', '') or ''} | {unless} |"


def _paragraphs(text: str) -> list[str]:
    """Return the help as Markdown: lines that are commands become code, bold words become headings."""
    plain = re.sub(r"\[/?bold\]", "", text.replace("\f", "")).strip()
    lines: list[str] = []
    for paragraph in plain.split("\n\n"):
        joined = " ".join(paragraph.split())
        lines += ["", f"    {joined}" if joined.startswith("lapse ") else joined]
    return lines[1:]


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
