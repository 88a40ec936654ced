"""A worker as a shop runs it, in a process of its own: for tests that signal, freeze and kill it.

It takes each order's effect exactly once, by a conditional update in SQLite, and writes down each time that an order
was handed to it. On its standard output it says what happens, one line for each event.
"""

import argparse
import sqlite3
import sys
import time
from contextlib import closing
from datetime import timedelta

from lapse import Claim, Event, Worker, open_timer

SCHEMA = """
create table if not exists cancelled (key text primary key, token integer);
create table if not exists handed (key text, attempt integer, at_worker text);
create table if not exists stock (units integer);
"""


def main() -> None:
    """Work until a signal comes."""
    options = argparse.ArgumentParser()
    options.add_argument("url")
    options.add_argument("database")
    options.add_argument("--name", default="orders")
    options.add_argument("--seconds", type=float, default=0.0, help="how long the handler takes before its effect")
    options.add_argument("--lease", type=float, default=1.0)
    options.add_argument("--drain", type=float, default=10.0)
    options.add_argument("--batch", type=int, default=100)
    chosen = options.parse_args()

    def handle(claims: list[Claim]) -> None:
        say(f"handling {len(claims)}")
        with closing(sqlite3.connect(chosen.database, timeout=60)) as database:
            with database:
                handed = [(claim.key, claim.attempt, chosen.name) for claim in claims]
                database.executemany("insert into handed values (?, ?, ?)", handed)
            end = time.monotonic() + chosen.seconds
            while time.monotonic() < end:
                time.sleep(0.01)
            with database:
                for claim in claims:
                    change = "insert into cancelled values (?, ?) on conflict do nothing"
                    if database.execute(change, (claim.key, claim.token)).rowcount:
                        database.execute("update stock set units = units + 1")

    def hook(event: Event, /) -> None:
        say(f"{event.kind} {event.count} {event.reason}".rstrip())

    with open_timer(chosen.url, name=chosen.name) as timer:
        Worker(
            timer,
            handle,
            batch=chosen.batch,
            lease=timedelta(seconds=chosen.lease),
            drain=timedelta(seconds=chosen.drain),
            hooks=[hook],
        ).run()
    say("ended")


def say(line: str) -> None:
    """Print at once: the test that reads the line acts on it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
