"""A timer that is armed by the shop's own keys: whoever sets `nick_1001` to expire arms the deadline "1001".

The shop goes on using SETEX, or HSET and EXPIRE, and knows nothing of this. A ledger beside its keys, which is the
delay queue under a name of its own, says when each expires:

* An event says only that something happened to a key. What is true now is read from the key, in the same step that
  writes the ledger, so the order of events, and how many watchers hear them, make no difference.
* What happened while nobody listened is found by looking at all that the ledger knows, and at all keys.
* A deadline that is due fires if its key is gone. Looking makes Redis delete a key whose time has come, and announce
  it at once to all who listen. A key that has moved meanwhile moves its deadline.

What cannot be known: a key that is gone when nobody listened, and whose time is past by then, expired or was deleted
just before; it fires. A key that came and went while nobody listened was never there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import redis

from lapse.engine.deadline import Claim
from lapse.engine.errors import ConfigError, TimerError, TimerRefused
from lapse.engine.events import Event, Hook, Kind, emit, log_event
from lapse.timers.redis.address import Address, split_url
from lapse.timers.redis.check import Needs
from lapse.timers.redis.errors import translated
from lapse.timers.redis.listener import Listening
from lapse.timers.redis.notifications import SETTING, require_notifications
from lapse.timers.redis.permissions import Command, denied
from lapse.timers.redis.queue import RedisQueue
from lapse.watch.key_intake import KeyIntake
from lapse.watch.key_scan import Progress
from lapse.watch.ledger_name import ledger_name

ANNOUNCED = "Kg$x"
"""What must be announced: under the keys' names (K); EXPIRE, DEL and the like (g); SET ($); that they expired (x)."""

REMEMBERED = 300_000
"""Milliseconds for which a firing is remembered. The event of a key that fired may be that late and changes nothing."""

SCHEMES = ("redis", "rediss", "redis+sentinel")
"""Of the URLs of a Redis whose keys can be watched."""

NO_CLUSTER = "a Redis cluster cannot be watched: its keys and the ledger are in different slots"


class WatchedKeys(RedisQueue):
    """The deadlines of all keys that begin with `prefix`, by the Redis server's clock. A claim's key follows it.

    From the first claim that waits on, it follows the keys. `hooks` hear of that.

    Raises ConfigError for a cluster or for no prefix; later TimerRefused, with the line to add, where the server does
    not announce changes of keys and cannot be told to.
    """

    traits = replace(RedisQueue.traits, mechanism="redis_watch")

    def __init__(self, client: redis.Redis, prefix: str, *, hooks: Iterable[Hook] = (log_event,)) -> None:
        super().__init__(client, ledger_name(prefix))
        self._prefix = prefix.encode()
        self._hooks = tuple(hooks)
        self._refused: TimerError | None = None
        self._server = client
        self._looked = False
        self._probe = self._shards[0] + "probe"
        self._intake = KeyIntake(
            client,
            self._prefix,
            self._shards[0] + "pending",
            learn=self.learn,
            on_connect=self._on_connect,
            refit=self._refit,
            tell_progress=self._tell_progress,
            tell_unfit=self._tell_unfit,
            stumbled=self._stumbled,
            failed=self._fail,
        )

    def learn(self, hints: Mapping[str, str]) -> None:
        """Let the ledger say what these keys say. The hints are those of `learn.lua`."""
        self._ready()
        flat = [part for key, hint in hints.items() for part in (hint, key)]
        self._run("learn", self._shards[0], [self._channel, self._prefix, REMEMBERED, *flat])

    def _take(self, limit: int, lease_ms: int) -> tuple[list[Claim], float | None]:
        """Claim what is due, and keep those whose keys are gone."""
        if self._refused is not None:
            raise self._refused
        claims, due_in = super()._take(limit, lease_ms)
        fire: set[bytes] = set()
        for shard, token, part in self._shards.parts_by_token(claims):
            keys = [claim.key for claim in part]
            fire.update(self._run("confirm", shard, [token, self._channel, self._prefix, REMEMBERED, *keys]))
        kept = [claim for claim in claims if claim.key.encode() in fire]
        return kept, 0.0 if claims and not kept else due_in

    def _on_new_generation(self) -> None:
        """Look at all keys: the ledger was deleted, or changed for another, and they may all be there still."""
        self._intake.look_again()
        super()._on_new_generation()

    def _listeners(self) -> Sequence[Listening]:
        return [*super()._listeners(), self._intake]

    def _needs(self) -> Needs:
        key = self._prefix + b"a"
        own: list[Command] = [
            ("PTTL", key),
            ("SCAN", "0"),
            ("DBSIZE",),
            ("PSUBSCRIBE", self._intake.channel),
        ]
        return Needs(
            commands=[*super()._needs().commands, *own],
            flags=ANNOUNCED,
            expiring=True,
            relative=True,
            tried_with=self._probe,
            no_cluster=NO_CLUSTER,
        )

    def _check_server(self) -> None:
        with translated():
            if self._server.info("cluster").get("cluster_enabled"):
                raise TimerRefused(NO_CLUSTER)
        missing = denied(self._server, self._needs().commands)
        if missing:  # one that may not hear events, for instance, would hear of nothing, and of no error either
            raise TimerRefused(f"this user of Redis may not: {', '.join(missing)}; permit them by ACL SETUSER")
        super()._check_server()
        self._refit()

    def _refit(self) -> None:
        flags = require_notifications(self._server, ANNOUNCED, tried_with=self._probe)
        if flags:
            self._intake.look_again()
            self._tell_unfit(
                f"{SETTING} is {flags} from now on, until Redis is restarted; for good, add this line to redis.conf: "
                f"{SETTING} {flags}"
            )

    def _tell_progress(self, progress: Progress) -> None:
        far = "" if progress.done else f"{progress.looked:,} of about {progress.total:,} keys looked at"
        self._emit(Kind.LEARNT, count=progress.found, seconds=progress.seconds, reason=far)
        if progress.done and not self._looked:
            self._looked = True
            if not progress.found and self._prefix.endswith(b"*"):
                self._tell_unfit(f"no key begins with {self._prefix!r}: the prefix is no pattern, so leave out its '*'")

    def _tell_unfit(self, what: str) -> None:
        self._emit(Kind.UNFIT, reason=what)

    def _stumbled(self, error: Exception) -> None:
        what = "following the keys failed; it goes on, and all keys are looked at again"
        emit(self._hooks, Event(kind=Kind.UNFIT, timer=self.name, reason=what, error=error))

    def _emit(self, kind: Kind, *, count: int = 0, seconds: float = 0.0, reason: str = "") -> None:
        emit(self._hooks, Event(kind=kind, timer=self.name, count=count, seconds=seconds, reason=reason))

    def _fail(self, error: TimerError) -> None:
        self._refused = error
        self._waker.wake()


def open_watch(url: str, *, prefix: str, hooks: Iterable[Hook] = (log_event,)) -> WatchedKeys:
    """Open by the URL of a Redis, alone or behind Sentinel.

    Raises ConfigError for any other.
    """
    scheme = split_url(url).scheme
    if scheme.endswith("+cluster"):
        raise ConfigError(NO_CLUSTER)
    if scheme not in SCHEMES:
        raise ConfigError(
            f"keys are watched on {', '.join(f'{one}://' for one in SCHEMES)}; got {scheme or 'none of them'}"
        )
    client = Address.parse(url, own=()).connect()
    return WatchedKeys(cast("redis.Redis", client), prefix, hooks=hooks)
