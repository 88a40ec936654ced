"""The statements of one SQL dialect, by name, read from a file of `dialects/`."""

import re
from functools import cache
from importlib.resources import files

Statements = dict[str, tuple[str, ...]]
"""The name of a section → its statements, in order, without comments."""

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


@cache
def statements(dialect: str) -> Statements:
    """Read `dialects/<dialect>.sql`: sections begin with `-- name: …`, statements end with a semicolon."""
    text = files("lapse.timers.sql").joinpath("dialects", f"{dialect}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {
        name: tuple(statement.strip() for statement in _COMMENT.sub("", body).split(";") if statement.strip())
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }
