"""Waits until something is due, and lets what came too early wait for the rest of its time."""

from collections.abc import Callable

from lapse.engine import waiting
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerError
from lapse.timers.rabbitmq.consumer import MOST_AT_ONCE, Inbox, Intake
from lapse.timers.rabbitmq.messages import Copy
from lapse.timers.rabbitmq.publisher import Outbox, milliseconds_now
from lapse.timers.rabbitmq.queues import Names
from lapse.timers.rabbitmq.wakeups import Bells

SOON = 1000
"""Milliseconds for which what came too early is kept while a claim goes on, rather than sent to wait once more."""


class Claiming:
    """Takes what is due out of a timer's queue. `outbox` gives the connection over which it sends back what is not."""

    def __init__(self, names: Names, bells: Bells, outbox: Callable[[], Outbox]) -> None:
        self._names = names
        self._bells = bells
        self._outbox = outbox

    def due(self, inbox: Inbox, limit: int, wait: float) -> list[Copy]:
        """Take what is due, by this process's clock; where nothing is, wait for it for so many seconds."""
        end = SYSTEM_CLOCK.monotonic() + wait
        with (
            self._bells.one() as bell,
            inbox.intake(self._names.due, min(limit, MOST_AT_ONCE), bell.wake) as intake,
        ):
            while True:
                intake.gather()
                now = milliseconds_now()
                due, early = intake.split(now)
                left = end - SYSTEM_CLOCK.monotonic()
                if due or left <= 0 or self._bells.interrupted():
                    break
                self._park(inbox, intake, [copy for copy in early if copy.note.at - now > SOON])
                soonest = min((copy.note.at - now for copy in early), default=SOON) / 1000
                bell.wait(min(left, waiting.LOOK_AGAIN, soonest))
            intake.end()  # before anything is handed out, so that nothing comes that nobody would claim
            due, early = intake.split(milliseconds_now())
            try:
                self._park(inbox, intake, early)
            except TimerError:  # a broker that is short of memory takes nothing, and what it has given is due
                if not due:
                    raise
                inbox.line.answer(returned=[copy.tag for copy in early])
            return due

    def _park(self, inbox: Inbox, intake: Intake, early: list[Copy]) -> None:
        """Let what came before its time wait for the rest of it: it was due later than all levels can wait.

        Or else its waiting was worked out by a clock that is ahead of this one.
        """
        if early:
            self._outbox().post([copy.counted for copy in early])
            inbox.line.answer(settled=[copy.tag for copy in early])
            intake.remove(early)
