"""Whether a timer has queues, and which timers have. A client that only asks declares no queue."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from lapse.engine.timer import TimerNames
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.connection import Connection
from lapse.timers.rabbitmq.management import MOST_QUEUES, NotChecked, queue_names
from lapse.timers.rabbitmq.queues import LAYOUT, Names, exists

OF_TIMER = r"lapse\.(.+)\.due(?:\.v[0-9]+)?"
"""The name of a queue of due messages in any layout. Each timer has one."""


def is_known(address: Address, names: Names) -> bool:
    """Return whether the broker has the timer's queues, in this layout, an older layout or the next."""
    with _connected(address) as connection:
        layouts = (LAYOUT, *range(LAYOUT - 1, 0, -1), LAYOUT + 1)
        return any(exists(connection, replace(names, layout=layout).due) for layout in layouts)


def timer_names(address: Address, names: Names) -> TimerNames:
    """Return whether the timer has queues, and if not, which timers have queues in the virtual host."""
    if is_known(address, names):
        return TimerNames(known=True)
    try:
        queues = queue_names(address, f"^{OF_TIMER}$")
    except NotChecked as error:
        return TimerNames(known=False, not_listed=str(error))
    found = {match[1] for queue in queues if (match := re.fullmatch(OF_TIMER, queue))}
    # The API may show a queue a moment after it was declared, or after it was deleted.
    return TimerNames(known=False, others=tuple(sorted(found - {names.timer})), complete=len(queues) < MOST_QUEUES)


@contextmanager
def _connected(address: Address) -> Iterator[Connection]:
    connection = Connection(address)
    try:
        yield connection
    finally:
        connection.close()
