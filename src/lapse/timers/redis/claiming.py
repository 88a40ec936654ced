"""Claims from the shards of one timer, by `claim.lua`."""

from collections.abc import Callable, Sequence
from itertools import count
from uuid import uuid4

from lapse.engine.deadline import Claim, from_milliseconds
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import FRESH_SHARE
from lapse.timers.redis.generation import ShardGenerations
from lapse.timers.redis.scripts import RunScript
from lapse.timers.redis.shards import SCRIPT_MEMBERS, Shards


class Claiming:
    """Claims from every shard, each time beginning with another shard, so that none starves.

    `on_new_generation` is called when a shard has lost its data.
    """

    def __init__(
        self,
        run: RunScript,
        shards: Shards,
        generations: ShardGenerations,
        on_new_generation: Callable[[], None],
    ) -> None:
        self._run = run
        self._shards = shards
        self._generations = generations
        self._on_new_generation = on_new_generation
        self._turn = count()

    def take(self, limit: int, lease_ms: int) -> tuple[list[Claim], float | None]:
        """Return up to `limit` claims, and the seconds until the next look; None if no deadline is known.

        If a shard does not answer, the claims from the other shards are still returned, because their leases have
        begun.
        """
        claims: list[Claim] = []
        due_in: float | None = None
        first = next(self._turn)
        for step in range(len(self._shards)):
            shard = (first + step) % len(self._shards)
            while len(claims) < limit:
                part = min(limit - len(claims), SCRIPT_MEMBERS)
                args: list[bytes | str | int] = [part, lease_ms, FRESH_SHARE, uuid4().hex]
                try:
                    now, look_at, token, ends, generation, *flat = self._run("claim", self._shards[shard], args)
                except TimerUnavailable:
                    if not claims:
                        raise
                    return claims, None
                if self._generations.changes(shard, generation.decode()):
                    self._on_new_generation()
                claims += _claims(now, int(token), int(ends), flat)
                if int(look_at) >= 0:
                    pause = max(int(look_at) - now, 0) / 1000
                    due_in = pause if due_in is None else min(due_in, pause)
                if len(flat) < 3 * part:
                    break
        if len(self._shards) > 1:
            claims.sort(key=lambda claim: claim.due_at)
        return claims, due_in


def _claims(now: int, token: int, ends: int, flat: Sequence[bytes]) -> list[Claim]:
    """Return a claim for each key, due time and attempt in `flat`. All times are milliseconds since 1970."""
    claimed_at, leased_until = from_milliseconds(now), from_milliseconds(ends)
    return [
        Claim(key.decode(), from_milliseconds(int(due)), int(attempt), token, claimed_at, leased_until)
        for key, due, attempt in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
