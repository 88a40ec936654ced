"""The generation of a timer on Redis: a name that changes when a server may have lost deadlines.

The generation has two parts. The first names the servers' processes: a restart or a failover may bring back older data,
or none. The second is the names that are stored with each shard: they are lost together with the shard's data.
"""

from typing import cast
from uuid import uuid4

from lapse.engine.errors import TimerRefused, TimerUnavailable
from lapse.timers.redis.client import SUPPORTED, Client, is_sentinel, is_too_old, master_of, product, server_info
from lapse.timers.redis.errors import Demoted, translated
from lapse.timers.redis.replies import REPLICA, SENTINEL
from lapse.timers.redis.shards import Shards


def server_generation(client: Client) -> str:
    """Return a name for the servers' processes, which changes after a restart or a failover.

    Raises TimerRefused if a server is too old, or is a Sentinel.
    """
    run_ids = []
    for info in server_info(client):
        if is_sentinel(info):
            raise TimerRefused(SENTINEL)
        if is_too_old(info):
            raise TimerRefused(f"{product(info)} is too old: Lapse needs {SUPPORTED}")
        run_ids.append(str(info.get("run_id", "")))
    return "+".join(sorted(run_ids))


def require_master(client: Client) -> None:
    """Raise Demoted if the server is a replica: nothing can be armed there, and a claim would find nothing to do."""
    if master := master_of(client):
        raise Demoted(REPLICA.format(master))


class ShardGenerations:
    """The names that are stored with each shard of one timer, in the string `epoch`, and the number of shards.

    `last_seen` are the names as last read, in the order of the shards, "" before the first reading.
    """

    def __init__(self, client: Client, timer: str, shards: Shards) -> None:
        self._client = client
        self._timer = timer
        self._shards = shards
        self.last_seen = [""] * len(shards)

    def begin(self) -> None:
        """Read the stored names, and store missing names. If several processes do this at once, the first one stores.

        Raises TimerRefused if other processes use another number of shards for this timer.
        """
        with translated():
            number = self._first_stored(self._shards[0] + "shards", str(len(self._shards)))
            for index, shard in enumerate(self._shards):
                self.last_seen[index] = self._first_stored(shard + "epoch", uuid4().hex)
        self._check_number(number)

    def check(self) -> None:
        """Read the number of shards and store nothing. Raises as `begin` does."""
        with translated():
            self._check_number(self._read(self._shards[0] + "shards"))

    def changes(self, index: int, generation: str) -> bool:
        """Remember the name that a shard has now. Return whether the shard had another name before."""
        before, self.last_seen[index] = self.last_seen[index], generation
        return before not in ("", generation)

    def _check_number(self, stored: str | None) -> None:
        wanted = str(len(self._shards))
        if stored not in (None, wanted):
            raise TimerRefused(
                f"the timer {self._timer!r} has {stored} shards on this server; add ?shards={stored} to the URL, "
                f"or disarm everything and delete {self._shards[0]}shards to begin with {wanted}"
            )

    def _read(self, key: str) -> str | None:
        value = cast("bytes | None", self._client.get(key))
        return None if value is None else value.decode()

    def _first_stored(self, key: str, value: str) -> str:
        """Return the stored value. If there is none, store `value` and return it.

        A stored value is read without a write, so that a server whose memory is full can still hand out due deadlines.
        """
        for _ in range(3):  # another process may empty the server between the two commands
            if (stored := self._read(key)) is not None:
                return stored
            self._client.set(key, value, nx=True)
        raise TimerUnavailable(f"{key} is gone as soon as it is written: does this server have room for it?")
