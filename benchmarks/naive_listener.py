"""The usual way: keys with a time to live, and a listener to their `expired` events. The baseline of the comparison.

`python -m benchmarks.naive_listener URL --notes FILE` is the listener. It works like the scripts that are in
use: it subscribes to a pattern, keeps the keys with its prefix and handles one at a time. After an error it subscribes
again.
"""

import argparse
import os
import signal
import time
from pathlib import Path

import redis

from benchmarks.notes import Notes
from benchmarks.orders import Orders
from benchmarks.worker_process import READY

PREFIX = "nick_"
EVENTS = "notify-keyspace-events"
RECONNECT = 0.1
"""Seconds before it subscribes again."""


def main() -> None:
    """Listen until the process is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--notes", type=Path, required=True, help="the file that each order is noted in")
    parser.add_argument("--count", action="store_true", help="note how many, not which")
    parser.add_argument("--orders", type=Path, help="the orders to cancel")
    parser.add_argument("--cancel", action="store_true", help="cancel them")
    parser.add_argument("--die-after", type=int, default=0, help="after so many, die by SIGKILL")
    given = parser.parse_args()
    notes = Notes(given.notes)
    orders = Orders(given.orders) if given.orders and given.cancel else None
    heard = 0

    def handle(key: str) -> None:
        nonlocal heard
        number = int(key.removeprefix(PREFIX))
        if given.count:
            notes.count(1)
        else:
            notes.each([number])
        heard += 1
        if given.die_after and heard >= given.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if orders:
            orders.cancel([number])

    while True:
        try:
            with redis.Redis.from_url(given.url) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
                client.config_set(EVENTS, "Ex")
                pubsub.psubscribe("__keyevent@*__:expired")
                print(READY, flush=True)
                for message in pubsub.listen():
                    key = message["data"].decode()
                    if key.startswith(PREFIX):
                        handle(key)
        except redis.ConnectionError:
            time.sleep(RECONNECT)


if __name__ == "__main__":
    main()
