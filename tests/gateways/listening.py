"""A minimal shop: one address that receives notifies."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl


class Listener:
    """Keeps every form that is posted to `url`, and answers with the next of `answers`, or `success`.

    `bodies` are the forms as they came, with their Content-Type.
    """

    def __init__(self) -> None:
        self.received: list[dict[str, str]] = []
        self.bodies: list[tuple[bytes, str]] = []
        self.answers: list[str] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.bodies.append((body, self.headers["Content-Type"]))
                listener.received.append(dict(parse_qsl(body.decode())))
                answer = listener.answers.pop(0) if listener.answers else "success"
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/notify/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, count: int) -> list[dict[str, str]]:
        """Wait until `count` notifies were received, and return all of them.

        Two notifies on their way arrive in either sequence: wait for the first before the second is sent.
        """
        assert eventually(lambda: len(self.received) >= count), self.received
        return self.received


def eventually(condition: Callable[[], bool], within: float = 30.0) -> bool:
    """Return whether the condition came true within so many seconds."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
