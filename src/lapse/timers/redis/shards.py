"""The hash slot of each key, and batches cut into parts that one script may take."""

from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

from lapse.engine.deadline import Claim

SCRIPT_MEMBERS = 1000
"""The most members in one script, so that no script blocks the server for more than a few milliseconds."""

SCRIPT_BYTES = 64 * 1024
"""The most bytes of keys in one script."""

MOST_SHARDS = 64


class Shards:
    """The shards of one timer, one for each of `number` hash slots. A shard is the prefix of all its keys."""

    def __init__(self, name: str, number: int) -> None:
        self._prefixes = [f"lapse:{{{name}:{shard}}}:" for shard in range(number)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._prefixes)

    def __len__(self) -> int:
        return len(self._prefixes)

    def __getitem__(self, number: int) -> str:
        return self._prefixes[number]

    def of(self, key: str) -> str:
        """Return the shard of a key."""
        if len(self._prefixes) == 1:
            return self._prefixes[0]  # the usual case, which needs no hash
        return self._prefixes[crc32(key.encode()) % len(self._prefixes)]

    def parts(self, keys: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield each shard with its keys, in parts that a script may take."""
        parts: dict[str, list[str]] = {}
        sizes = dict.fromkeys(self._prefixes, 0)
        for key in keys:
            shard = self.of(key)
            part = parts.setdefault(shard, [])
            part.append(key)
            sizes[shard] += len(key)
            if len(part) == SCRIPT_MEMBERS or sizes[shard] >= SCRIPT_BYTES:
                yield shard, parts.pop(shard)
                sizes[shard] = 0
        yield from parts.items()

    def parts_by_token(self, claims: Sequence[Claim]) -> Iterator[tuple[str, int, list[Claim]]]:
        """Yield each shard and token with its claims, in parts that a script may take."""
        groups: dict[tuple[str, int], list[Claim]] = {}
        if len(self._prefixes) == 1 and len({claim.token for claim in claims}) == 1:  # the most frequent case
            groups[self._prefixes[0], claims[0].token] = list(claims)
        else:
            for claim in claims:
                groups.setdefault((self.of(claim.key), claim.token), []).append(claim)
        for (shard, token), group in groups.items():
            for start in range(0, len(group), SCRIPT_MEMBERS):
                yield shard, token, group[start : start + SCRIPT_MEMBERS]
