"""Elements of HTML as texts."""

import re
from html import escape

_CODE = re.compile(r"`([^`]+)`")


def tag(name: str, /, *content: str, **attributes: str | bool) -> str:
    """Return an element around `content`, which is HTML; attributes are escaped, and False leaves one out.

    `class_` means the attribute class, and `data_on` means data-on.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(value)}"')
        for key, value in attributes.items()
        if value is not False
    )
    return f"<{name}{written}>" + ("" if name == "input" else f"{''.join(content)}</{name}>")


def marked(text: str) -> str:
    """Return a text as HTML in which `names` between backticks are code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))
