"""What was given up on: a queue that is looked through, one at a time, and put back as it was."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Buried, from_milliseconds
from lapse.timers.rabbitmq.consumer import Inbox
from lapse.timers.rabbitmq.generation import locked
from lapse.timers.rabbitmq.messages import Copy, Note
from lapse.timers.rabbitmq.queues import Names

MOST = 50_000
"""How many are looked through; those buried longest come first. AMQP cannot have more than 65,535 unanswered."""

BACK_WITHIN = 10.0
BACK_AGAIN = 0.005


def listed(inbox: Inbox, names: Names, limit: int) -> list[Buried]:
    """List them, the longest buried first."""
    with _looked_through(inbox, names) as (copies, back):
        back.extend(copy.tag for copy in copies)
        graves = sorted((copy.note for copy in copies), key=lambda note: note.buried)[:limit]
        return [_grave(note) for note in graves]


def dug_out(inbox: Inbox, names: Names, keys: Collection[str], post: Callable[[list[Note]], None]) -> int:
    """Let `post` have those of these keys, then forget them here. Returns of how many keys there were some."""
    wanted = set(keys)
    with _looked_through(inbox, names) as (copies, back):
        found = [copy for copy in copies if copy.note.key in wanted]
        back.extend(copy.tag for copy in copies if copy.note.key not in wanted)
        post([copy.note for copy in found])
        inbox.line.answer(settled=[copy.tag for copy in found])
        return len({copy.note.key for copy in found})


def _grave(note: Note) -> Buried:
    return Buried(note.key, from_milliseconds(note.due), note.attempts, note.reason, from_milliseconds(note.buried))


@contextmanager
def _looked_through(inbox: Inbox, names: Names) -> Iterator[tuple[list[Copy], list[int]]]:
    """Take all of them out for a block; what it puts on the second list goes back, in order.

    A process that dies meanwhile gives them back with its connection. Two that looked at once would each find some.
    """
    back: list[int] = []
    with locked(inbox.link, names), inbox.intake(names.buried, MOST) as intake:
        intake.gather()
        intake.end()
        yield intake.copies, back
        inbox.line.answer(returned=back)
        end = SYSTEM_CLOCK.monotonic() + BACK_WITHIN
        # The broker takes what is given back bit by bit, and who looks next shall find all of it.
        while inbox.line.count(names.buried) < len(back) and SYSTEM_CLOCK.monotonic() < end:
            SYSTEM_CLOCK.sleep(BACK_AGAIN)
