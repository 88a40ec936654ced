"""How late `lapse watch` delivers among many keys: `python -m benchmarks.watch_lateness --help`.

A private Redis gets `--keys` keys of a far future and, once the watcher has learnt them, `--per-second` keys that are
due in each second. Every order is POSTed to a server in this process. Two figures: how late each was handed out, by
Redis's clock, as the watcher logs it; and how late its POST arrived, by this machine's clock.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import redis

from lapse.testing.servers import RedisServer

LAPSE = Path(sys.executable).with_name("lapse")
PREFIX = "nick_"


class Arrivals(ThreadingHTTPServer):
    """Notes when each order arrives, in seconds since 1970."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(self) -> None:
        self.at: dict[str, list[float]] = {}
        arrivals = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                now = time.time()
                key = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["order_id"]
                arrivals.at.setdefault(key, []).append(now)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing: the receiver's own output would only cost time."""

        super().__init__(("127.0.0.1", 0), Handler)


@contextmanager
def watching(url: str, port: int, log: Path) -> Iterator[None]:
    """Run the watcher, and wait until it has learnt all keys."""
    words: list[str | Path] = [
        LAPSE,
        "watch",
        url,
        "--prefix",
        PREFIX,
        "--post",
        f"http://127.0.0.1:{port}/",
        "--unsigned",
        "--json",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAPSE_")}
    with log.open("wb") as out:
        process = subprocess.Popen(words, stderr=out, env=environment)  # noqa: S603 - our own command
    try:
        while not any(one["event"] == "keys learnt" and "reason" not in one for one in lines(log)):
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


def lines(log: Path) -> list[dict[str, Any]]:
    """Return the watcher's log lines."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def fill(client: redis.Redis, count: int) -> None:
    """Set keys that expire in two hours or more."""
    for start in range(0, count, 10_000):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, min(start + 10_000, count)):
            pipeline.set(f"{PREFIX}far{number}", "1", ex=7200 + number % 3600)
        pipeline.execute()


def drip(client: redis.Redis, per_second: int, seconds: int) -> dict[str, float]:
    """Set keys with a time to live of 3 s, evenly, as a shop would. Returns when each ends, by Redis's clock."""
    ends = {}
    begun = time.monotonic()
    for number in range(per_second * seconds):
        time.sleep(max(begun + number / per_second - time.monotonic(), 0))
        end = int(time.time() * 1000) + 3000
        client.set(f"{PREFIX}due{number}", "1", pxat=end)
        ends[f"due{number}"] = end / 1000
    return ends


def show(what: str, lateness: list[float]) -> dict[str, float]:
    """Print the figures in milliseconds, and return them."""
    cuts = statistics.quantiles(lateness, n=100)
    found = {"earliest": min(lateness), "p50": cuts[49], "p99": cuts[98], "max": max(lateness)}
    print(f"{what:24}" + "  ".join(f"{name} {value:8.2f} ms" for name, value in found.items()))
    return found


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description="How late lapse watch delivers among many keys.")
    parser.add_argument("--keys", type=int, default=1_000_000, help="keys of a far future (1,000,000)")
    parser.add_argument("--per-second", type=int, default=200, help="keys due in each second (200)")
    parser.add_argument("--seconds", type=int, default=20, help="for so many seconds (20)")
    options = parser.parse_args()
    arrivals = Arrivals()
    threading.Thread(target=arrivals.serve_forever, daemon=True).start()
    with (
        RedisServer(config={"notify-keyspace-events": "Kg$x"}) as server,
        redis.Redis.from_url(server.url) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        fill(client, options.keys)
        log = Path(folder, "log")
        begun = time.monotonic()
        with watching(server.url, arrivals.server_port, log):
            print(f"learnt {options.keys:,} keys in {time.monotonic() - begun:.1f} s")
            ends = drip(client, options.per_second, options.seconds)
            patience = time.monotonic() + 120
            while len(arrivals.at) < len(ends) and time.monotonic() < patience:
                time.sleep(0.1)
            memory = client.info("memory")["used_memory"]
        handed = [float(one["latest_ms"]) for one in lines(log) if one["event"] == "batch handled"]
    print(f"{len(arrivals.at):,} of {len(ends):,} delivered; Redis used {memory / 1e6:.0f} MB")
    print(f"doubled: {sum(len(at) - 1 for at in arrivals.at.values())}")
    show("handed out", handed)
    show("arrived", [(at[0] - ends[key]) * 1000 for key, at in arrivals.at.items()])
    assert len(arrivals.at) == len(ends)


if __name__ == "__main__":
    main()
