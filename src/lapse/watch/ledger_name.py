"""The name of the timer that is the ledger of watched keys."""

import hashlib
import re

from lapse.engine.errors import ConfigError

LONGEST = 100
"""The largest number of characters in a timer's name."""


def ledger_name(prefix: str) -> str:
    """Return the name of the timer that is the ledger of a prefix: a fixed name, different for each prefix.

    Letters, digits, `_` and `-` stay as they are; other bytes are written like `.3A`. A name that is too long is cut
    and ends in a digest. Raises ConfigError for an empty prefix, and for a prefix that is not UTF-8.
    """
    if not prefix:
        raise ConfigError("the prefix must not be empty: it says which keys are orders, for example nick_")
    try:
        text = prefix.encode()
    except UnicodeEncodeError:
        raise ConfigError("the prefix is not UTF-8, so no key that begins with it could be tracked") from None
    name = "watch." + "".join(_escaped(byte) for byte in text)
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(text).hexdigest()[:32]
    return f"{name[: LONGEST - len(digest) - 2]}..{digest}"


def prefix_in(name: str) -> str | None:
    """Return the prefix in the name of a ledger; None if the name is no ledger's, or has only a part of the prefix."""
    if not name.startswith("watch."):
        return None
    escaped = name.removeprefix("watch.").encode()
    try:
        prefix = re.sub(rb"\.([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), escaped).decode()
    except UnicodeDecodeError:
        return None
    return prefix if prefix and ledger_name(prefix) == name else None


def _escaped(byte: int) -> str:
    letter = chr(byte)
    return letter if re.fullmatch(r"[A-Za-z0-9_-]", letter) else f".{byte:02X}"
