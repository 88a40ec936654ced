"""How many messages of a timer are where."""

from dataclasses import dataclass

from lapse.timers.rabbitmq.channel import Line
from lapse.timers.rabbitmq.connection import Link
from lapse.timers.rabbitmq.errors import Absent
from lapse.timers.rabbitmq.queues import LEVELS, Names


@dataclass(frozen=True, slots=True)
class Figures:
    """Messages that are with nobody: waiting for their time, due, buried."""

    waiting: int
    due: int
    buried: int


def counted(link: Link, names: Names) -> Figures:
    """Ask every queue: at most 28 short questions. The levels are made from the lowest on, as far as was needed."""
    with Line(link) as line:
        due, buried, waiting = line.count(names.due), line.count(names.buried), 0
        try:
            for number in range(LEVELS):
                waiting += line.count(names.level(number))
        except Absent:
            pass  # and the line is closed
        return Figures(waiting, due, buried)
