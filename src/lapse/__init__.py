"""Lapse cancels unpaid orders on time, once, and gives their stock back, even when processes crash."""

from lapse.config import MECHANISMS, check_url, open_timer, traits_of
from lapse.engine.backoff import Backoff
from lapse.engine.deadline import Buried, Claim, Deadline
from lapse.engine.decision import Bury, Decision, Move, Release, Settle
from lapse.engine.errors import (
    ConfigError,
    InvalidDeadline,
    LapseError,
    MissingLibrary,
    TimerError,
    TimerRefused,
    TimerUnavailable,
    TryLater,
)
from lapse.engine.events import Event, Hook, Kind
from lapse.engine.timer import LEASE, Finding, Stats, Timer, Traits, TransactionalTimer
from lapse.engine.worker import ClaimHandler, ConcurrentWorker, Handler, Worker

__version__ = "0.1.0"

__all__ = [
    "LEASE",
    "MECHANISMS",
    "Backoff",
    "Buried",
    "Bury",
    "Claim",
    "ClaimHandler",
    "ConcurrentWorker",
    "ConfigError",
    "Deadline",
    "Decision",
    "Event",
    "Finding",
    "Handler",
    "Hook",
    "InvalidDeadline",
    "Kind",
    "LapseError",
    "MissingLibrary",
    "Move",
    "Release",
    "Settle",
    "Stats",
    "Timer",
    "TimerError",
    "TimerRefused",
    "TimerUnavailable",
    "Traits",
    "TransactionalTimer",
    "TryLater",
    "Worker",
    "check_url",
    "open_timer",
    "traits_of",
]
