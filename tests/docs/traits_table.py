"""The table of what each mechanism promises, made from its traits. No server is contacted."""

import ast
from dataclasses import fields
from datetime import timedelta
from inspect import getsource
from textwrap import dedent
from typing import Any

from lapse.config import MECHANISMS, traits_of
from lapse.engine.timer import Traits

NAME = "mechanism"


def traits_table() -> str:
    """Return a table of the meaning of each trait, then a table of the traits of each mechanism."""
    meaning = _meanings()
    names = [field.name for field in fields(Traits) if field.name != NAME]
    lines = ["| trait | meaning |", "| --- | --- |"]
    lines += [f"| `{name}` | {meaning[name]} |" for name in names]
    lines += ["", _row([NAME, *(f"`{name}`" for name in names)]), _row(["---"] * (1 + len(names)))]
    for scheme in _one_scheme_each():
        traits = traits_of(scheme)
        lines.append(_row([f"`{traits.mechanism}`", *(_cell(getattr(traits, name)) for name in names)]))
    return "\n".join(lines)


def _one_scheme_each() -> list[str]:
    """Return the first scheme of each module, in the order of the mechanisms' names."""
    first: dict[str, str] = {}
    for scheme, (module, _) in MECHANISMS.items():
        first.setdefault(module, scheme)
    return sorted(first.values(), key=lambda scheme: traits_of(scheme).mechanism)


def _meanings() -> dict[str, str]:
    """Return the paragraph below each field of Traits. Raises AssertionError for a trait without one."""
    (definition,) = ast.parse(dedent(getsource(Traits))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    field = ""
    for statement in definition.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)):
                field = name
            case ast.Expr(value=ast.Constant(value=str(text))) if field:
                first, *_ = text.split("\n\n")  # the paragraphs after the first are for authors of a mechanism
                found[field] = " ".join(first.split()).removesuffix(".")
    missing = {trait.name for trait in fields(Traits)} - set(found) - {NAME}
    assert not missing, f"write below the field what it means: {', '.join(sorted(missing))}"
    return found


def _cell(value: Any) -> str:  # any type that a trait may have
    match value:
        case bool():
            return "yes" if value else "**no**"
        case timedelta() if value < timedelta(seconds=1):
            return f"{value / timedelta(milliseconds=1):g} ms"
        case timedelta() if value < timedelta(days=1):
            return f"{value.total_seconds():g} s"
        case timedelta():
            return f"{value / timedelta(days=1):g} days"
        case None:
            return "–"
        case _:
            return str(value)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
