"""A message of the outbox, and its text: the form of the Standard Webhooks specification."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from django.core.serializers.json import DjangoJSONEncoder

MOST_TYPE = 100
_TYPE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True, slots=True)
class Message:
    """What happened to one order, for example.

    `id` is the same in each try and at each endpoint. `key` names what the message is about: messages of one key are
    delivered in sequence. `timestamp` is when `publish` was called, in UTC, by the clock of the process that called it.
    """

    id: str
    type: str
    key: str
    timestamp: datetime
    data: Mapping[str, Any]

    @classmethod
    def read(cls, identity: str, key: str, document: str) -> Self:
        """Return the message that was stored as this document."""
        found = json.loads(document)
        return cls(identity, found["type"], key, datetime.fromisoformat(found["timestamp"]), found["data"])


def document(kind: str, at: datetime, data: Mapping[str, Any]) -> str:
    """Return the JSON that is stored, in ASCII: not every database stores every character.

    Dates, decimals and UUIDs become texts, as Django's encoder writes them. Raises TypeError for any other object that
    JSON lacks, and ValueError for NaN or infinity.
    """
    content = {"type": kind, "timestamp": timestamp_of(at), "data": data}
    return json.dumps(content, cls=DjangoJSONEncoder, allow_nan=False, separators=(",", ":"))


def timestamp_of(at: datetime) -> str:
    """Return the time in UTC, as messages have it: ISO 8601 with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def checked_type(kind: str) -> str:
    """Return the type. Raises ValueError unless it has the form of the specification, like `order.paid`."""
    if not (isinstance(kind, str) and len(kind) <= MOST_TYPE and _TYPE.fullmatch(kind)):
        raise ValueError(
            f"a type has groups of letters, digits and underscores, separated by full stops, like 'order.paid', and "
            f"{MOST_TYPE} characters at most; got {kind!r}"
        )
    return kind
