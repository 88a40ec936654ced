"""The options of `lapse watch`."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """What to watch, and how to deliver.

    `url` is the Redis that has the keys; the names of the keys begin with `prefix`. `post` is the address that each
    order is sent to, and `body` a JSON template with `{key}` for the order's id.

    Deliveries are signed with the secret in `secret_file`, or in LAPSE_WEBHOOK_SECRET; not at all with `unsigned`.
    `insecure_http` permits http to other machines.

    `timeout` is in seconds, for one answer. At most `concurrency` deliveries are under way at once. An order is buried
    after `attempts` tries. Once stopping, what is under way may end within `drain`.
    """

    url: str
    prefix: str
    post: str
    body: str = '{"order_id": "{key}"}'
    secret_file: Path | None = None
    unsigned: bool = False
    insecure_http: bool = False
    timeout: float = 10.0
    concurrency: int = 32
    attempts: int = 20
    drain: timedelta = timedelta(seconds=15)


DEFAULTS = WatchOptions(url="", prefix="", post="")
