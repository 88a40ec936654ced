"""The order's id in the name of each key: which names have one, which are left out, and which look like helper keys."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable

from lapse.engine.deadline import check_key
from lapse.engine.errors import ConfigError, InvalidDeadline
from lapse.watch.key_scan import EXAMPLES
from lapse.watch.key_search import shown

MOST_REPORTED = 1000
"""How many names without a usable key are reported. Further names are skipped without a report."""

MOST_RECENT = 10_000
"""How many ids are remembered, to recognise a key as the helper of another one."""

LAST_PART = re.compile(r"(.+)[:._/|@#-]([^:._/|@#-]+)", re.DOTALL)
"""An id, a separator and a word, as `1001:lock`."""


class OrderIds:
    """The ids of the orders whose keys begin with `prefix`.

    With `pattern`, a regular expression, only ids that match it as a whole are orders. All other keys are left out.

    Two threads call `of`, one for events and one for a scan. `on_unfit` is called with the reason why a key cannot be
    tracked, and with a warning about helper keys.

    Raises ConfigError for a pattern that is no regular expression.
    """

    def __init__(self, prefix: bytes, pattern: str, on_unfit: Callable[[str], None]) -> None:
        self.prefix = prefix
        self.pattern = pattern
        self.seen: list[bytes] = []
        """Names with an id, of keys that exist or that have just changed."""
        self.left_out: OrderedDict[bytes, None] = OrderedDict()
        """The first names that are left out because of the pattern."""
        self._on_unfit = on_unfit
        self._reported: set[bytes] = set()
        self._recent: OrderedDict[str, str] = OrderedDict()  # id or its first part → the id from which it comes
        self._warned = False
        try:
            self._matches = re.compile(pattern).fullmatch if pattern else None
        except re.error as error:
            raise ConfigError(
                f"--id must be a regular expression, such as '\\d+'; {pattern!r} is none: {error}"
            ) from error

    def of(self, name: bytes) -> str | None:
        """Return the id in a name. If no timer could store it, report that and return None; None if it is left out."""
        try:
            key = check_key(name[len(self.prefix) :].decode())
        except (UnicodeDecodeError, InvalidDeadline) as error:
            if name not in self._reported and len(self._reported) < MOST_REPORTED:
                self._reported.add(name)
                self._on_unfit(f"the key {name[:80]!r} cannot be tracked, so its order is not cancelled: {error}")
            return None
        if not self.includes(key):
            if len(self.left_out) < EXAMPLES:
                self.left_out[name] = None
            return None
        if not self._warned:
            self._look_for_helpers(key)
        return key

    def see(self, names: Iterable[bytes]) -> None:
        """Remember the first names with an id, of keys that exist or that have just changed."""
        self.seen += [name for name in names if name not in self.seen][: EXAMPLES - len(self.seen)]

    def includes(self, key: str) -> bool:
        """Return whether the pattern permits this id."""
        return self._matches is None or self._matches(key) is not None

    def _look_for_helpers(self, key: str) -> None:
        """Warn once if there are two keys, and the second is named like the first one with a word behind it."""
        parts = LAST_PART.fullmatch(key)
        if parts and self._recent.get(parts[1]) == parts[1]:
            self._warn(parts[1], key)
        elif (child := self._recent.get(key, key)) != key:
            self._warn(key, child)
        self._recent[key] = key
        if parts:
            self._recent.setdefault(parts[1], key)
        while len(self._recent) > MOST_RECENT:
            self._recent.popitem(last=False)

    def _warn(self, parent: str, child: str) -> None:
        self._warned = True
        self._recent.clear()
        pattern = r"\d+" if parent.isdecimal() else f"[^{child[len(parent)]}]+"
        self._on_unfit(helpers_warning(self.prefix, parent, child, pattern))


def helpers_warning(prefix: bytes, parent: str, child: str, pattern: str) -> str:
    """Return the sentence about a key that looks like a helper of an order's key."""
    return (
        f"the key {shown(prefix + child.encode())} looks like a helper of {shown(prefix + parent.encode())}, and "
        f"{child!r} is POSTed as an order's id when it expires: if it is none, leave such keys out by the pattern of "
        f"an id, such as --id '{pattern}'"
    )
