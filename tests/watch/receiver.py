"""A shop's address for cancellations: it keeps every call, and gives the answers that a test sets."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.engine.running import wait_until

PATH = "/payment/cancel_order/"


@dataclass(frozen=True, slots=True)
class Call:
    """One POST, and when it came by this machine's clock."""

    at: datetime
    path: str
    headers: dict[str, str]
    text: str
    port: int
    """Of the caller, which tells one connection from another."""

    @property
    def key(self) -> str:
        """The order that it names: as the watcher does, or as a message of the outbox does in its data."""
        content = json.loads(self.text)
        return str(content["order_id"] if "order_id" in content else content["data"]["order"])


Answer = tuple[int, dict[str, str]]
OK: Answer = (200, {})


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class Receiver:
    """A server that answers an order's calls by the next of `answers[order]`; when none is left, by `otherwise`.

    `before_answer` is called first, with the call; it may wait.
    """

    def __init__(self, otherwise: Answer = OK) -> None:
        self.calls: list[Call] = []
        self.answers: dict[str, list[Answer]] = defaultdict(list)
        self.otherwise = otherwise
        self.body = "{}"
        self.before_answer: Callable[[Call], Any] = lambda _: None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                now = datetime.now(UTC)
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                call = Call(now, self.path, headers, text, self.client_address[1])
                receiver.calls.append(call)
                receiver.before_answer(call)
                left = receiver.answers[call.key]
                status, more = left.pop(0) if left else receiver.otherwise
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                body = receiver.body.encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                raise AssertionError("a redirect was followed")

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def keys(self) -> list[str]:
        """The orders that were named, in the order of the calls."""
        return [call.key for call in list(self.calls)]

    def wait_for(self, count: int) -> None:
        """Wait until so many calls have come."""
        wait_until(lambda: len(self.calls) >= count, f"there were {len(self.calls)} calls, not {count}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
