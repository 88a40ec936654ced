"""Finds the prefix that an operator may have meant, among the names of the keys that exist."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lapse.watch.key_scan import glob

SHORTEST_STEM = 3
"""The fewest letters and digits of a prefix that are worth finding in a name with other separators."""

MOST_BEGINNINGS = 500
"""How many different beginnings of names are compared with the prefix as a misspelling."""

ALIKE = 0.75
"""How similar two words are that may be one word, misspelt: a ratio of `difflib`."""

SEPARATORS = bytes(byte for byte in range(0x80) if not chr(byte).isalnum())
"""Every byte that is neither a letter nor a digit. Bytes from 0x80 on belong to letters outside ASCII."""

BEGINNING = re.compile(rb"([^\d:._/|-]{1,32}[:._/|-]+)")
"""The first word of a name with its separator. The rest of a name may be a secret, such as a session's key."""

WORDS = re.compile(rb".*[:._/|-]", re.DOTALL)
"""The whole words of a beginning that several names have in common."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Keys that do not begin with the prefix, but look as if they were meant: an example, and the prefix to use.

    If `varied`, most of these keys would need other prefixes, and `prefix` is what all of them have in common.
    """

    rank: int
    """0 is the most similar. The ranks are those of `REASONS`."""
    prefix: bytes
    example: bytes
    count: int
    varied: bool = False


REASONS = (
    "without the '*'",
    "a client puts text before the name, as Django's cache puts ':1:'",
    "upper and lower case differ",
    "the separators differ",
    "the spelling differs",
)
"""Why a name does not begin with the prefix, by rank."""


class Likenesses:
    """Collects names, and says which of them are similar to the prefix."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._folded = prefix.lower()
        self._stem = _bare(prefix)
        self._counts: Counter[tuple[int, bytes]] = Counter()
        self._examples: dict[tuple[int, bytes], bytes] = {}
        self._beginnings: Counter[bytes] = Counter()

    def add(self, names: Iterable[bytes]) -> None:
        """Add names that do not begin with the prefix."""
        for name in names:
            if found := self._compared(name):
                self._counts[found] += 1
                self._examples.setdefault(found, name)
            elif (first := BEGINNING.match(name)) and (
                first[1] in self._beginnings or len(self._beginnings) < MOST_BEGINNINGS
            ):
                self._beginnings[first[1]] += 1
                self._examples.setdefault((len(REASONS) - 1, first[1]), name)

    def count_again(self) -> None:
        """Forget how many names are similar: each of these names will be added a second time."""
        self._counts.clear()

    def best(self) -> Likeness | None:
        """Return what is most similar; None if nothing is."""
        if self._counts:
            rank, prefix = found = min(self._counts, key=lambda found: (found[0], -self._counts[found]))
            alike = {other: count for (its_rank, other), count in self._counts.items() if its_rank == rank}
            if 2 * alike[prefix] < (total := sum(alike.values())):
                common = WORDS.match(os.path.commonprefix([*alike]) or b"")  # noqa: RUF071 - of names, not of paths
                return Likeness(rank, common[0] if common else b"", self._examples[found], total, varied=True)
            return Likeness(rank, prefix, self._examples[found], alike[prefix])
        texts = {first.decode(errors="replace").lower(): first for first in self._beginnings}
        close = difflib.get_close_matches(self._folded.decode(errors="replace"), texts, n=1, cutoff=ALIKE)
        for text in close:
            first = texts[text]
            rank = len(REASONS) - 1
            return Likeness(rank, first, self._examples[rank, first], self._beginnings[first])
        return None

    def beginnings(self, most: int) -> list[bytes]:
        """Return the most frequent beginnings of names that are not similar."""
        return [first for first, _ in self._beginnings.most_common(most)]

    def _compared(self, name: bytes) -> tuple[int, bytes] | None:
        """Return the rank of a name and the prefix by which it would be found; None if it is not similar."""
        plain = self._prefix.rstrip(b"*")
        if plain != self._prefix and plain and name.startswith(plain):
            return 0, plain
        at = name.find(self._prefix)
        if at >= 0:
            return 1, name[: at + len(self._prefix)]
        at = name.lower().find(self._folded)
        if at >= 0:
            return 2, name[: at + len(self._prefix)]
        if len(self._stem) < SHORTEST_STEM:
            return None
        at = _bare(name).find(self._stem)
        if at < 0:
            return None
        places = [place for place, byte in enumerate(name) if byte not in SEPARATORS]
        end = places[at + len(self._stem) - 1] + 1
        while end < len(name) and name[end] in SEPARATORS:  # the separator belongs to the prefix
            end += 1
        return 3, name[:end]


def _bare(name: bytes) -> bytes:
    """Return the letters and digits of a name, in lower case."""
    return name.translate(None, SEPARATORS).lower()


def pattern_of(prefix: bytes) -> bytes:
    """Return the Redis pattern of every name that contains the longest word of the prefix, in any case."""
    word = max(
        prefix.translate(bytes(32 if byte in SEPARATORS else byte for byte in range(256))).split(), key=len, default=b""
    )
    if len(word) < SHORTEST_STEM:
        return b"*" + glob(prefix)
    letters = (bytes([byte]) for byte in word)
    both = (b"[" + letter.lower() + letter.upper() + b"]" if letter.isalpha() else letter for letter in letters)
    return b"*" + b"".join(both) + b"*"
