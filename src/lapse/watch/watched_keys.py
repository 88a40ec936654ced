"""A timer that is armed by the shop's own keys: a key `nick_1001` that is set to expire arms the deadline "1001".

The shop goes on using SETEX, or HSET and EXPIRE, and does not know the timer. A ledger beside the shop's keys records
when each key expires. The ledger is a delay queue with a name derived from the prefix.

* An event only says that a key changed. The script reads the key's present state in the same step that writes the
  ledger. So neither the order of events nor the number of watchers matters.
* Changes that no watcher received are found by a scan of all keys in the ledger, and of all keys with the prefix.
* A due deadline fires if its key is gone. Reading a key whose time has come makes Redis delete the key and send the
  event to all subscribers at once. If the key's time was changed meanwhile, the deadline moves to that time.

Two cases are uncertain. First, a known key disappeared while no watcher ran, and its time is over now. It may have
expired or been deleted just before; it fires. Second, a key was created and disappeared while no watcher ran. It leaves
no trace and does not fire.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import redis

from lapse.config import scheme_of
from lapse.engine.deadline import Claim
from lapse.engine.errors import ConfigError, TimerError, TimerRefused
from lapse.engine.events import Event, Hook, Kind, emit, log_event
from lapse.engine.timer import Finding
from lapse.timers.redis.address import Address
from lapse.timers.redis.check import Needs
from lapse.timers.redis.errors import translated
from lapse.timers.redis.listener import Listening
from lapse.timers.redis.notifications import SETTING, require_notifications
from lapse.timers.redis.permissions import Command, denied
from lapse.timers.redis.queue import RedisQueue
from lapse.watch.key_scan import Progress
from lapse.watch.key_search import KeySearch, shown, too_far
from lapse.watch.key_tracker import KeyTracker
from lapse.watch.ledger_name import ledger_name
from lapse.watch.order_ids import OrderIds
from lapse.watch.unmatched import Unmatched

PACKAGE = "lapse.watch"
"""The package whose folder `lua/` has this timer's scripts."""

ANNOUNCED = "Kg$x"
"""The flags of the needed events: channels named by key (K); EXPIRE, DEL and similar (g); SET ($); expired (x)."""

REMEMBERED = 300_000
"""Milliseconds for which a firing is remembered. A key's event that comes this late after it fired has no effect."""

SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+unix", "unix")
"""The URL schemes of a Redis whose keys can be watched."""

INSTEAD = {"shards": "`lapse watch` keeps one ledger, so leave it out", "prefix": "give the prefix by --prefix"}
"""Options of timers' URLs that have no meaning here → what to do instead."""

NO_CLUSTER = "a Redis cluster cannot be watched: its keys and the ledger are in different slots"


class WatchedKeys(RedisQueue):
    """The deadlines of all keys that begin with `prefix`, by the Redis server's clock.

    A claim's key is the name of the shop's key without the prefix. The first waiting claim starts to track the keys.
    With `ids`, a regular expression, only keys whose name without the prefix matches it as a whole are orders.
    `hooks` are called with events about the tracking.

    Raises ConfigError for a cluster, an empty prefix, or a pattern that is no regular expression. Methods raise
    TimerRefused if the server does not send the events of key changes and does not permit this timer to change that.
    The message has the line to add.
    """

    traits = replace(RedisQueue.traits, mechanism="redis_watch")

    def __init__(
        self, client: redis.Redis, prefix: str, *, ids: str = "", hooks: Iterable[Hook] = (log_event,)
    ) -> None:
        super().__init__(client, ledger_name(prefix))
        self._prefix = prefix.encode()
        self._ids = OrderIds(self._prefix, ids, self._report_unfit)
        self._hooks = tuple(hooks)
        self._refused: TimerError | None = None
        self._server = client
        self._far = False
        self._probe = self._shards[0] + "probe"
        self._tracker = KeyTracker(
            client,
            self._ids,
            self._shards[0] + "pending",
            learn=self.learn,
            require_events=self._require_events,
            on_connect=self._on_connect,
            on_progress=self._report_progress,
            on_check=self._look_for_matches,
            on_error=self._report_error,
            on_refused=self._refuse,
        )
        self._unmatched = Unmatched(client, self._prefix, report=self._report_unmatched, pause=self._tracker.pause)

    def learn(self, hints: Mapping[str, str]) -> None:
        """Write the present state of these keys into the ledger. The hints are those of `learn.lua`."""
        self._ready()
        flat = [part for key, hint in hints.items() for part in (hint, key)]
        arguments: list[bytes | str | int] = [self._channel, self._prefix, REMEMBERED, *flat]
        _, _, far, ms = self._run("learn", self._shards[0], arguments, package=PACKAGE)
        if far and not self._far:
            self._far = True  # the first one is enough: all keys of a shop are set by the same line of code
            self._report_unfit(too_far(self._prefix + far, int(ms)))

    def _take(self, limit: int, lease_ms: int) -> tuple[list[Claim], float | None]:
        """Return claims on due deadlines whose keys are gone, and the seconds until the next deadline."""
        if self._refused is not None:
            raise self._refused
        taken, due_in = super()._take(limit, lease_ms)
        claims = self._without_left_out(taken)
        fire: set[bytes] = set()
        for shard, token, part in self._shards.parts_by_token(claims):
            keys = [claim.key for claim in part]
            arguments: list[bytes | str | int] = [token, self._channel, self._prefix, REMEMBERED, *keys]
            fire.update(self._run("confirm", shard, arguments, package=PACKAGE))
        kept = [claim for claim in claims if claim.key.encode() in fire]
        return kept, 0.0 if taken and not kept else due_in

    def _without_left_out(self, claims: list[Claim]) -> list[Claim]:
        """Return the claims on orders. Forget the others: an earlier watcher, without this pattern, armed them."""
        left_out = [claim for claim in claims if not self._ids.includes(claim.key)]
        if not left_out:
            return claims
        self.settle(left_out)
        self._emit(
            Kind.LEFT_OUT, count=len(left_out), reason=self._why_left_out(self._prefix + left_out[0].key.encode())
        )
        return [claim for claim in claims if self._ids.includes(claim.key)]

    def check(self) -> list[Finding]:
        """Return findings on whether the server keeps deadlines, and on the keys with the prefix. Changes nothing."""
        try:
            keys = KeySearch(self._server, self._prefix).look()
        except TimerRefused as error:
            return [*self.check_server(), Finding(fit=False, text=f"not checked: which keys exist ({error})")]
        notes = [Finding(fit=keys.fit, text=keys.text)]
        ids = OrderIds(self._prefix, self._ids.pattern, lambda text: notes.append(Finding(fit=True, text=text)))
        for name in keys.names:
            ids.of(name)
        notes += [Finding(fit=True, text=self._why_left_out(name)) for name in list(ids.left_out)[:1]]
        return [*self.check_server(), *notes]

    def check_server(self) -> list[Finding]:
        """Return findings on whether the server keeps deadlines. Changes nothing."""
        return super().check()

    def _on_new_generation(self) -> None:
        """Scan all keys: the ledger was deleted or replaced, but all the keys may still exist."""
        self._tracker.scan_again()
        super()._on_new_generation()

    def _listeners(self) -> Sequence[Listening]:
        return [*super()._listeners(), self._tracker]

    def _needs(self) -> Needs:
        key = self._prefix + b"a"
        own: list[Command] = [
            ("PTTL", key),
            ("SCAN", "0"),
            ("DBSIZE",),
            ("PSUBSCRIBE", self._tracker.channel),
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
        if missing:  # for example, a user that may not subscribe would receive neither events nor an error
            raise TimerRefused(f"this user of Redis may not: {', '.join(missing)}; permit them by ACL SETUSER")
        super()._check_server()
        self._require_events()

    def _require_events(self) -> None:
        flags = require_notifications(self._server, ANNOUNCED, tried_with=self._probe)
        if flags:
            self._tracker.scan_again()
            self._report_unfit(
                f"{SETTING} is {flags} until Redis is restarted; to keep it, add this line to redis.conf: "
                f"{SETTING} {flags}"
            )

    def _report_progress(self, progress: Progress) -> None:
        far = "" if progress.done else f"{progress.scanned:,} of about {progress.total:,} keys scanned"
        self._emit(Kind.LEARNT, count=progress.found, seconds=progress.seconds, reason=far)
        self._ids.see(progress.examples)
        if progress.done and progress.left_out and self._ids.left_out:
            example = next(iter(self._ids.left_out))
            kind = Kind.LEFT_OUT if progress.found else Kind.UNMATCHED  # if no order is left, the pattern is wrong
            self._emit(kind, count=progress.left_out, reason=self._why_left_out(example))
        if not progress.found:
            self._look_for_matches()

    def _look_for_matches(self) -> None:
        if self._ids.seen or not self._ids.left_out:
            self._unmatched.look(self._ids.seen)

    def _why_left_out(self, name: bytes) -> str:
        return f"keys such as {shown(name)} are left out: their ids do not match --id {self._ids.pattern!r}"

    def _report_unfit(self, reason: str) -> None:
        self._emit(Kind.UNFIT, reason=reason)

    def _report_unmatched(self, reason: str) -> None:
        self._emit(Kind.UNMATCHED, reason=reason)

    def _report_error(self, error: Exception) -> None:
        reason = "tracking the keys failed; it goes on, and all keys are scanned again"
        emit(self._hooks, Event(kind=Kind.UNFIT, timer=self.name, reason=reason, error=error))

    def _emit(self, kind: Kind, *, count: int = 0, seconds: float = 0.0, reason: str = "") -> None:
        emit(self._hooks, Event(kind=kind, timer=self.name, count=count, seconds=seconds, reason=reason))

    def _refuse(self, error: TimerError) -> None:
        self._refused = error
        self._waker.wake()


def open_watch(url: str, *, prefix: str, ids: str = "", hooks: Iterable[Hook] = (log_event,)) -> WatchedKeys:
    """Return a timer for the keys in the Redis at a URL, a single server or behind Sentinel.

    Raises ConfigError for any other URL.
    """
    scheme = scheme_of(url)
    if scheme.endswith("+cluster"):
        raise ConfigError(NO_CLUSTER)
    if scheme not in SCHEMES:
        raise ConfigError(f"keys are watched on {', '.join(f'{known}://' for known in SCHEMES)}; got {scheme}://")
    client = Address.parse(url, instead=INSTEAD).connect()
    return WatchedKeys(cast("redis.Redis", client), prefix, ids=ids, hooks=hooks)
