"""Looks at a part of the keys of a Redis, and says in one sentence whether the shop's keys are among them.

A watcher whose prefix no key has looks healthy, because it has nothing to do. So it says which similar keys exist, and
in which other database.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerRefused
from lapse.engine.lengths import YEAR, in_words
from lapse.timers.redis.client import database_number
from lapse.timers.redis.errors import translated
from lapse.watch.key_scan import EXAMPLES, STEP
from lapse.watch.name_likeness import REASONS, Likeness, Likenesses, pattern_of

MOST_NAMES = 20_000
"""How many names of one database are read as they come, for misspellings and for other beginnings."""

MOST_SECONDS = 2.0
"""How long the server then compares the other names of one database with the prefix's longest word. The server reads
names in steps of about a millisecond, and between two steps has as long a pause as the step took."""

MOST_DATABASES = 4
"""How many databases are looked at."""

FAR_MS = int(10 * YEAR)
"""A time to live that is longer, in milliseconds, is a mistake: no order waits for ten years."""

OWN = b"lapse:"
"""The beginning of the names of Lapse's own keys, which may contain the prefix."""


@dataclass(frozen=True, slots=True)
class KeyFinding:
    """What is known of the keys with a prefix. `matched`: at least one such key expires. `fit`: nothing to change."""

    matched: bool
    fit: bool
    text: str
    names: tuple[bytes, ...] = ()
    """Names with the prefix that were read."""


@dataclass(slots=True)
class _Sample:
    """The names that were read in one database, which has `total` keys."""

    database: int
    total: int
    likenesses: Likenesses
    read: int = 0
    own: int = 0
    """How many of the names that were read are Lapse's own."""
    complete: bool = False
    with_prefix: dict[bytes, None] = field(default_factory=dict)


class KeySearch:
    """Searches one Redis for keys that begin with `prefix`, or that look as if they were meant.

    `pause` is called between two steps with the seconds that the last step took; if it returns True, the search ends.
    """

    def __init__(self, client: redis.Redis, prefix: bytes, pause: Callable[[float], bool] | None = None) -> None:
        self._client = client
        self._prefix = prefix
        self._pause = pause or _slept
        self._own = database_number(client)

    def look(self, known: Sequence[bytes] = ()) -> KeyFinding:
        """Return what there is. `known` are names with the prefix that were seen already; then no others are read.

        Raises TimerUnavailable, and TimerRefused if this user may not read names.
        """
        if known:
            return self._of_known(known, complete=len(known) < EXAMPLES)
        with translated():
            keyspace = cast("dict[str, dict[str, Any]]", self._client.info("keyspace"))
        sizes = {int(name.removeprefix("db")): int(about["keys"]) for name, about in keyspace.items()}
        own = self._sample(self._own, sizes.get(self._own, 0))
        if own.with_prefix:
            return self._of_known(list(own.with_prefix), complete=own.complete)
        others, unread = list[_Sample](), list[int]()
        for number in sorted(sizes.keys() - {self._own}):
            try:
                if len(others) + 1 >= MOST_DATABASES:
                    raise TimerRefused("enough is read")  # noqa: TRY301 - the rest is named as not checked
                others.append(self._sample(number, sizes[number]))
            except TimerRefused:
                unread.append(number)
        return self._of_samples(own, others, unread)

    def _of_known(self, names: Sequence[bytes], *, complete: bool) -> KeyFinding:
        """Return a finding on names that begin with the prefix: whether these keys expire, and when."""
        count = f"{'' if complete else 'at least '}{len(names):,}"
        names = names[:EXAMPLES]
        with translated():
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.pttl(name)
            left = dict(zip(names, cast("list[int]", pipeline.execute()), strict=True))
        found = f"{count} {'key begins' if count == '1' else 'keys begin'} with {shown(self._prefix)}"
        if all(ms == -1 for ms in left.values()):
            return KeyFinding(
                matched=False,
                fit=False,
                text=f"{found}, such as {shown(names[0])}, and none of the {len(names)} that were read has a time to "
                "live, so no order becomes due: set them with SETEX or SET … EX, or use EXPIRE",
            )
        ends = {name: ms for name, ms in left.items() if ms >= 0}
        if not ends:
            return KeyFinding(matched=True, fit=True, text=f"{found}; those that were read are gone by now")
        last = max(ends, key=lambda name: ends[name])
        far = ends[last] > FAR_MS
        if far:
            text = f"{found}; {too_far(last, ends[last])}"
        else:
            text = f"{found}; of {len(names)} that were read the last expires in {in_words(ends[last])}"
        if endless := sum(ms == -1 for ms in left.values()):
            text += f", and {endless} never"
        return KeyFinding(matched=True, fit=not far, text=text, names=tuple(names))

    def _of_samples(self, own: _Sample, others: Sequence[_Sample], unread: Sequence[int]) -> KeyFinding:
        """Return a finding that no key of this database begins with the prefix."""
        all_of = "" if own.complete else f" among the {min(own.read, own.total):,} that were read of {own.total:,}"
        nothing = f"no key in database {self._own} begins with {shown(self._prefix)}{all_of}"
        if self._prefix.endswith(b"*"):
            nothing += " (a prefix is not a pattern: remove its '*')"
        for other in others:
            if other.with_prefix:
                name, number = next(iter(other.with_prefix)), other.database
                return _unfit(
                    f"{nothing}, but keys in database {number} do, such as {shown(name)}: the URL must end in /{number}"
                )
        found = [(like, sample) for sample in (own, *others) if (like := sample.likenesses.best())]
        if found:
            like, sample = min(found, key=lambda pair: pair[0].rank)  # the first of equals is in the URL's database
            return _unfit(f"{nothing}; {self._similar(like, sample)}")
        total = own.total - own.own
        text = nothing if total else f"{nothing}; it has no key at all"
        if beginnings := own.likenesses.beginnings(3):
            text += f"; its {total:,} keys begin with, for example, {', '.join(map(shown, beginnings))}"
        elif total:
            text += f"; none of its {total:,} keys is similar"
        if counted := [f"{other.database} has {n:,}" for other in others if (n := other.total - other.own)]:
            text += f"; of the other databases {', '.join(counted)}, none of them similar"
        if unread:
            text += f"; not checked: database {', '.join(map(str, unread))}"
        return KeyFinding(matched=False, fit=True, text=text)

    def _similar(self, like: Likeness, sample: _Sample) -> str:
        here = sample.database == self._own
        where = "" if here else f" in database {sample.database}"
        remedy = f"use --prefix {shown(like.prefix)}" + ("" if here else f" and a URL that ends in /{sample.database}")
        differs = ""
        if like.varied:
            differs = ", and what stands before it differs from key to key"
            remedy += ", and --id for the rest of an order's name"
            if not like.prefix:
                remedy = "one beginning for the names of all orders' keys is needed"
        keys = "1 key is" if like.count == 1 else f"{like.count:,} keys are"
        return f"{keys} similar{where}, such as {shown(like.example)} ({REASONS[like.rank]}){differs}: {remedy}"

    def _sample(self, database: int, total: int) -> _Sample:
        sample = _Sample(database, total, Likenesses(self._prefix), complete=not total)
        if not total:
            return sample
        for names in self._names(database, None):
            self._add(sample, names)
            if sample.read >= MOST_NAMES and not sample.with_prefix:
                break
            if len(sample.with_prefix) >= EXAMPLES:
                return sample
        else:
            sample.complete = True
            return sample
        end = SYSTEM_CLOCK.monotonic() + MOST_SECONDS
        sample.read = sample.own = 0
        sample.likenesses.count_again()  # the next names include those that were read above
        for names in self._names(database, pattern_of(self._prefix)):
            self._add(sample, names)
            sample.read += STEP - len(names)
            if len(sample.with_prefix) >= EXAMPLES or SYSTEM_CLOCK.monotonic() > end:
                return sample
        sample.complete = True
        return sample

    def _add(self, sample: _Sample, names: Sequence[bytes]) -> None:
        sample.read += len(names)
        # Lapse's own keys are no keys of a shop, unless the operator asks for them.
        of_shop = [name for name in names if not name.startswith(OWN) or self._prefix.startswith(OWN)]
        sample.own += len(names) - len(of_shop)
        sample.with_prefix.update(dict.fromkeys(name for name in of_shop if name.startswith(self._prefix)))
        sample.likenesses.add(name for name in of_shop if not name.startswith(self._prefix))

    def _names(self, database: int, pattern: bytes | None) -> Iterator[list[bytes]]:
        cursor = 0
        while True:
            begun = SYSTEM_CLOCK.monotonic()
            cursor, names = self._scan(cursor, database, pattern)
            yield names
            if not cursor or self._pause(SYSTEM_CLOCK.monotonic() - begun):
                return

    def _scan(self, cursor: int, database: int, pattern: bytes | None) -> tuple[int, list[bytes]]:
        """Return the next cursor and some names. A connection that read another database is set back at once."""
        with translated():
            if database == self._own:
                return cast("tuple[int, list[bytes]]", self._client.scan(cursor, match=pattern, count=STEP))
            pipeline = self._client.pipeline(transaction=False)
            pipeline.select(database)
            pipeline.scan(cursor, match=pattern, count=STEP)
            pipeline.select(self._own)
            return cast("tuple[int, list[bytes]]", pipeline.execute()[1])


def shown(name: bytes) -> str:
    """Return the beginning of a key's name in quotes, without control characters."""
    text = name[:80].decode(errors="backslashreplace")
    return repr(text) + ("…" if len(name) > 80 else "")  # noqa: PLR2004 - as above


def too_far(name: bytes, ms: int) -> str:
    """Return the sentence about a key that expires so late that its time to live must be wrong."""
    return (
        f"the key {shown(name)} expires in {in_words(ms)}: its time to live looks like milliseconds given as seconds "
        "(SETEX and EX take seconds, PSETEX and PX milliseconds)"
    )


def _unfit(text: str) -> KeyFinding:
    return KeyFinding(matched=False, fit=False, text=text)


def _slept(seconds: float) -> bool:
    SYSTEM_CLOCK.sleep(seconds)
    return False
