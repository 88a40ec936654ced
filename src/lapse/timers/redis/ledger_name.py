"""Which timer is the ledger of watched keys."""

import hashlib
import re

from lapse.engine.errors import ConfigError

LONGEST = 100
"""Characters that a timer's name may have."""


def ledger_name(prefix: str) -> str:
    """Name the timer that is the ledger of a prefix: another one for each prefix, and always the same.

    Letters, digits, `_` and `-` stand for themselves, other bytes are written as `.3A`; what gets too long is cut and
    ends in a digest. Raises ConfigError for an empty prefix.
    """
    if not prefix:
        raise ConfigError("the prefix must not be empty: it says which keys are orders, as nick_")
    name = "watch." + "".join(_written(byte) for byte in prefix.encode())
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(prefix.encode()).hexdigest()[:32]
    return f"{name[: LONGEST - len(digest) - 2]}..{digest}"


def _written(byte: int) -> str:
    letter = chr(byte)
    return letter if re.fullmatch(r"[A-Za-z0-9_-]", letter) else f".{byte:02X}"
