"""The record of one timer: its generation, the tokens that are used up, and the process that claims.

It is a paused job in the pending store. A new record, so a new generation, is written where the jobs were deleted.
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
    """The process that claims next uses higher tokens than this."""
    owner: str = ""
    """A random id of the process that claims; "" for none."""
    who: str = ""
    """The name of that process, for people."""
    until: int = 0
    """When its ownership ends, in milliseconds since 1970 by its own clock: for people only."""
    span: int = 0
    """For how many milliseconds the record must stay unchanged until its owner counts as dead."""
    renewal: int = 0
    """Rises with every renewal, so that each renewal changes the record."""

    def put(self, expected: bytes) -> Transfer:
        """Return the transfer that writes this record over `expected`, or, where that is empty, over nothing."""
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
    """Return the record as it is stored, and its content; empty and None where there is none."""
    state = stores.find(Store.PENDING, [RECORD]).get(RECORD, b"")
    return state, record_in(state) if state else None


def new_record() -> Record:
    """Return the first record of a new generation. Its tokens are higher than those of a generation that was lost."""
    return Record(generation=uuid4().hex, tokens=(SYSTEM_CLOCK.now() - EPOCH) // timedelta(microseconds=1))


def generation(stores: JobStores) -> str:
    """Return the generation: of the server's process, where a restart may lose jobs, and of the record.

    Writes a record where there is none.
    """
    while True:
        _, record = read_record(stores)
        if record is not None:
            return f"{stores.server_generation()}/{record.generation}"
        stores.transfer([new_record().put(b"")])  # another process may be first: then its record is read
