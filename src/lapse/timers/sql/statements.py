"""The named statements of an SQL dialect, read from a file in `dialects/`."""

import re
from functools import cache
from importlib.resources import files

Statements = dict[str, tuple[str, ...]]
"""The name of a section → its statements, in order, without comments."""

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


@cache
def statements(dialect: str) -> Statements:
    """Return the statements of `dialects/<dialect>.sql`, by the name of their section.

    A section begins with `-- name: …`, and a statement ends with a semicolon.
    """
    text = files("lapse.timers.sql").joinpath("dialects", f"{dialect}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {
        name: tuple(statement.strip() for statement in _COMMENT.sub("", body).split(";") if statement.strip())
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }
