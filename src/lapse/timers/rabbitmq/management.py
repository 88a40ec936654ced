"""Reads the policies and the names of queues from the management plugin's HTTP API. AMQP does not show them."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.timers.rabbitmq.address import Address

ANSWER_WITHIN = 3.0
"""Seconds in which the API must answer a request."""

SHOWN_WITHIN = 15.0
"""Seconds to wait for the policies of new queues. The plugin shows a change up to five seconds after it."""

LOOK_AGAIN = 0.5
"""Seconds between two requests while the policies of a queue are not shown yet."""

MOST_QUEUES = 100
"""The size of a page of queues. A timer has at most 29 in each layout."""

MOST_BYTES = 4 << 20
"""The most that is read of an answer. A page of queues has some ten thousand bytes."""


class NotChecked(Exception):
    """The API does not answer. The message says what to do."""


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What applies to one queue: the names of the policies, what they define together, and the queue's size.

    `sizes` has the number of messages as `max-length`, and their bytes as `max-length-bytes`.
    """

    queue: str
    sizes: dict[str, int]
    policies: str
    definition: dict[str, Any]


def read_policies(address: Address, timer: str, queues: Sequence[str]) -> list[QueuePolicy]:
    """Return what applies to each of the timer's queues that exists. Raises NotChecked."""
    end = SYSTEM_CLOCK.monotonic() + SHOWN_WITHIN
    wanted = set(queues)
    while True:
        shown = [item for item in _list_queues(address, timer) if item.get("name") in wanted]
        hidden = [item for item in shown if not isinstance(item.get("effective_policy_definition"), dict)]
        if shown and not hidden:
            return [_queue_policy(item) for item in shown]
        if SYSTEM_CLOCK.monotonic() >= end:
            what = f"of {hidden[0]['name']}" if hidden else "of the timer's queues"
            raise NotChecked(f"the management API at {address.management} does not show the policies {what}; try again")
        SYSTEM_CLOCK.sleep(LOOK_AGAIN)


def _queue_policy(item: dict[str, Any]) -> QueuePolicy:
    names = [repr(item[kind]) for kind in ("policy", "operator_policy") if item.get(kind)]
    sizes = {"max-length": item.get("messages") or 0, "max-length-bytes": item.get("message_bytes") or 0}
    return QueuePolicy(item["name"], sizes, " and ".join(names), item["effective_policy_definition"])


def _list_queues(address: Address, timer: str) -> list[dict[str, Any]]:
    """Return the queues whose names contain the timer's name. Other timers' queues may be among them."""
    columns = "name,messages,message_bytes,policy,operator_policy,effective_policy_definition"
    return _page(address, {"name": f"lapse.{timer}.", "use_regex": "false", "columns": columns})


def queue_names(address: Address, pattern: str) -> list[str]:
    """Return the names of queues in the virtual host that match the regular expression, MOST_QUEUES at most.

    Raises NotChecked.
    """
    return [str(item.get("name")) for item in _page(address, {"name": pattern, "use_regex": "true", "columns": "name"})]


def _page(address: Address, selection: dict[str, str]) -> list[dict[str, Any]]:
    """Return the first page of the virtual host's queues that the selection matches."""
    query = urlencode(selection | {"page": 1, "page_size": MOST_QUEUES})
    vhost = quote(address.parameters.virtual_host, safe="")
    document = _get(address, f"/api/queues/{vhost}?{query}")
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise NotChecked(f"{address.management} is not a management API of RabbitMQ: {_NAME_IT}")
    return [item for item in items if isinstance(item, dict)]


_NAME_IT = "name its address in the timer's URL, such as ?management=http://localhost:15672"


def _get(address: Address, path: str) -> Any:  # noqa: ANN401 - a JSON document
    """Return the document at a path of the API. Raises NotChecked."""
    where = address.management
    try:
        status, body = _answer(address, path)
    except (OSError, HTTPException, UnicodeError) as error:
        raise NotChecked(
            f"no management API answers at {where} ({error or type(error).__name__}): switch it on "
            f"(rabbitmq-plugins enable rabbitmq_management), or {_NAME_IT}"
        ) from error
    if status in {401, 403}:
        user = address.parameters.credentials.username
        raise NotChecked(
            f"the management API at {where} does not admit {user!r}: give the account the tag 'management' "
            f"(rabbitmqctl set_user_tags {user} management)"
        )
    try:
        if status == 200:  # noqa: PLR2004 - OK
            return json.loads(body)
    except ValueError:
        pass
    raise NotChecked(f"{where} does not answer as a management API of RabbitMQ (HTTP {status}): {_NAME_IT}")


def _answer(address: Address, path: str) -> tuple[int, bytes]:
    """Send a GET request with the account of the timer's URL. Return the status and the body."""
    parts = urlsplit(address.management)
    connection = (
        HTTPSConnection(parts.hostname or "", parts.port, timeout=ANSWER_WITHIN, context=address.tls)
        if parts.scheme == "https"
        else HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_WITHIN)
    )
    account = address.parameters.credentials
    basic = b64encode(f"{account.username}:{account.password}".encode()).decode()
    try:
        connection.request("GET", parts.path + path, headers={"Authorization": f"Basic {basic}"})
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES)
    finally:
        connection.close()
