"""A way to deliver messages to one endpoint, and the result of one try."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lapse.integrations.django.outbox.message import Message


@dataclass(frozen=True, slots=True)
class Tried:
    """The result of one try. `answer` is for a person. `wait` is how long the receiver asks to wait, or None."""

    delivered: bool
    answer: str
    wait: timedelta | None = None


class Channel(Protocol):
    """Delivers messages to one endpoint."""

    def deliver(self, message: Message) -> Tried:
        """Return the result of one try. Another error than that of the receiver or of the network is raised."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...
