"""The options of `lapse watch`."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """What to watch, and how to deliver.

    `url` is the Redis that has the keys; the keys' names begin with `prefix`, and an order's id follows. With `ids`, a
    regular expression, only keys whose id matches it as a whole are orders.

    `post` is the address that receives each order, and `body` is a JSON template with `{key}` for the order's id.
    `accept` names the field of the answer's JSON, and its values, that mean success, like `code=0`; without it every
    2xx means success.

    Deliveries are signed with the secret in `secret_file` or in LAPSE_WEBHOOK_SECRET. With `unsigned` they are not
    signed. `insecure_http` permits http to other machines.

    `timeout` is the longest time for one delivery, from the name lookup to the end of the answer, in seconds. At most
    `concurrency` deliveries are under way at once. An order is buried after `attempts` tries. After a signal to stop,
    running deliveries may finish within `drain`.
    """

    url: str
    prefix: str
    post: str
    ids: str = ""
    body: str = '{"order_id": "{key}"}'
    accept: str = ""
    secret_file: Path | None = None
    unsigned: bool = False
    insecure_http: bool = False
    timeout: float = 10.0
    concurrency: int = 32
    attempts: int = 20
    drain: timedelta = timedelta(seconds=15)


DEFAULTS = WatchOptions(url="", prefix="", post="")
