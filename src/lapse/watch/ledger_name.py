"""Which timer is the ledger of watched keys."""

import hashlib
import re

from lapse.engine.errors import ConfigError

LONGEST = 100
"""Characters that a timer's name may have."""


def ledger_name(prefix: str) -> str:
    """Return the name of the timer that is the ledger of a prefix: always the same, and another one for each prefix.

    Letters, digits, `_` and `-` stand for themselves; other bytes are written as `.3A`. A name that is too long is cut
    and ends in a digest. Raises ConfigError for an empty prefix, and for one that is no text.
    """
    if not prefix:
        raise ConfigError("the prefix must not be empty: it says which keys are orders, as nick_")
    try:
        text = prefix.encode()
    except UnicodeEncodeError:
        raise ConfigError("the prefix is not UTF-8, so no key that begins with it could be followed") from None
    name = "watch." + "".join(_escaped(byte) for byte in text)
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(text).hexdigest()[:32]
    return f"{name[: LONGEST - len(digest) - 2]}..{digest}"


def _escaped(byte: int) -> str:
    letter = chr(byte)
    return letter if re.fullmatch(r"[A-Za-z0-9_-]", letter) else f".{byte:02X}"
