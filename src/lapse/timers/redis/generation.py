"""What is written on the servers about a timer as a whole: its number of shards, and a name for each one's memory."""

from typing import cast
from uuid import uuid4

from lapse.engine.errors import TimerRefused, TimerUnavailable
from lapse.timers.redis.server import Client, translated
from lapse.timers.redis.shards import Shards


class Memory:
    """The memory of one timer. `epochs` are the names of its shards' memories as they were last seen, "" before."""

    def __init__(self, client: Client, name: str, shards: Shards) -> None:
        self._client = client
        self._name = name
        self._shards = shards
        self.epochs = [""] * len(shards)

    def begin(self) -> None:
        """Read what is there, and write it where nothing is: one writer wins.

        Raises TimerRefused where others spread this timer over another number of shards.
        """
        with translated():
            found = self._first_written(self._shards[0] + "shards", str(len(self._shards)))
            for number, shard in enumerate(self._shards):
                self.epochs[number] = self._first_written(shard + "epoch", uuid4().hex)
        self._compare(found)

    def look(self) -> None:
        """Read the number of shards and write nothing. Raises as `begin` does."""
        with translated():
            self._compare(self._read(self._shards[0] + "shards"))

    def seen(self, number: int, epoch: str) -> bool:
        """Note what a shard's memory is called now. Returns whether it is another one than before."""
        before, self.epochs[number] = self.epochs[number], epoch
        return before not in ("", epoch)

    def _compare(self, found: str | None) -> None:
        wanted = str(len(self._shards))
        if found not in (None, wanted):
            raise TimerRefused(
                f"the timer {self._name!r} has {found} shards on this server; add ?shards={found} to the URL, "
                f"or disarm everything and delete {self._shards[0]}shards to begin with {wanted}"
            )

    def _read(self, key: str) -> str | None:
        found = cast("bytes | None", self._client.get(key))
        return None if found is None else found.decode()

    def _first_written(self, key: str, value: str) -> str:
        """Write the value where there is none. Returns the one that is there.

        Nothing is written where there is one: a server that is full can still hand out what is due.
        """
        for _ in range(3):  # somebody may empty the server between the two
            if (found := self._read(key)) is not None:
                return found
            self._client.set(key, value, nx=True)
        raise TimerUnavailable(f"{key} is gone as soon as it is written: does this server have room for it?")
