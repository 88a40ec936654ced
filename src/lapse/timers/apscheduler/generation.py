"""The record of one timer: its generation, the highest reserved token, and the process that claims.

The record is a paused job in the pending store. If the jobs are deleted, a new record with a new generation is written.
"""

from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import uuid4

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import EPOCH
from lapse.timers.apscheduler.job import OURS, read, write
from lapse.timers.apscheduler.stores import JobStores, Store, Transfer

RECORD = OURS + "claimant"
"""The id of the job that is the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record's content. `generation` is stored under the name `memory`."""

    generation: str
    tokens: int
    """The next claiming process uses higher tokens than this."""
    owner: str = ""
    """A random id of the process that claims; "" for none."""
    who: str = ""
    """The name of the claiming process, for people."""
    until: int = 0
    """When the process's ownership ends, in milliseconds since 1970 by its clock: for people only."""
    span: int = 0
    """Milliseconds for which the record must stay unchanged before its owner counts as dead."""
    renewal: int = 0
    """A number that rises with every renewal, so that each renewal changes the record."""

    def put(self, expected: bytes) -> Transfer:
        """Return the transfer that replaces the record `expected`; if that is empty, the transfer adds the record."""
        source = Store.PENDING if expected else Store.NONE
        return Transfer(RECORD, source, expected, Store.PENDING, self.state(), None)

    def state(self) -> bytes:
        """Return the record as a paused job."""
        fields = asdict(self)
        return write(RECORD, None, args=(RECORD,), kwargs={"memory": fields.pop("generation"), **fields})


def record_in(state: bytes) -> Record:
    """Return the record in a stored job."""
    fields = dict(read(state)["kwargs"])
    return Record(generation=fields.pop("memory"), **fields)


def read_record(stores: JobStores) -> tuple[bytes, Record | None]:
    """Return the stored bytes of the record and its content; empty bytes and None if there is no record."""
    state = stores.find(Store.PENDING, [RECORD]).get(RECORD, b"")
    return state, record_in(state) if state else None


def new_record() -> Record:
    """Return the first record of a new generation. Its tokens are higher than those of a generation that was lost."""
    return Record(generation=uuid4().hex, tokens=(SYSTEM_CLOCK.now() - EPOCH) // timedelta(microseconds=1))


def generation(stores: JobStores) -> str:
    """Return the generation: the record's name, and the server process's if a restart may lose jobs.

    Writes a record if there is none.
    """
    while True:
        _, record = read_record(stores)
        if record is not None:
            return f"{stores.server_generation()}/{record.generation}"
        stores.transfer([new_record().put(b"")])  # if another process is first, its record is read
