"""A receiver that answers each connection by a script, as slowly as a test wants."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

PAUSE = 0.05
"""Seconds between two bytes of a drip: a timeout for one operation never ends such a call."""

Script = Callable[[socket.socket, threading.Event], None]
"""Serves one connection; ends soon after the event is set."""


class SlowServer:
    """Runs each connection's script in a thread. `scripts` are for the first connections, `otherwise` for the rest."""

    def __init__(self, *scripts: Script, otherwise: Script) -> None:
        self._scripts = list(scripts)
        self._otherwise = otherwise
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.over = threading.Event()
        """Set when the test is over."""
        self.connections = 0
        """How many connections were opened."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the socket is closed at the end
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                script = self._scripts.pop(0) if self._scripts else self._otherwise
                threading.Thread(target=self._serve, args=(script, connection), daemon=True).start()

    def _serve(self, script: Script, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the sender has closed the connection
            script(connection, self.over)


def drip(connection: socket.socket, over: threading.Event, text: bytes) -> None:
    """Send one byte after another, and the last one again and again, until the sender closes the connection."""
    while not over.wait(PAUSE):
        connection.sendall(text[:1])
        text = text[1:] or text[:1]


def dripping_header(connection: socket.socket, over: threading.Event) -> None:
    """Begin an answer, and never end its header."""
    connection.recv(65_536)
    drip(connection, over, b"HTTP/1.1 200 OK\r\nX-Slow: aa")


def dripping_body(connection: socket.socket, over: threading.Event) -> None:
    """Send a header at once, and the body for ever."""
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    drip(connection, over, b'{"code": 0, "msg": "..')


def dripping_informational(connection: socket.socket, over: threading.Event) -> None:
    """Send one informational answer after another, and never the final one."""
    connection.recv(65_536)
    while not over.wait(PAUSE):
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def dripping_handshake(connection: socket.socket, over: threading.Event) -> None:
    """Begin a TLS record of the largest size, and never end it."""
    connection.recv(65_536)
    drip(connection, over, b"\x16\x03\x03\x40\x00" + b"\x02\x00\x3f\xfc" + b"\x03" * 100)


def fine(connection: socket.socket, over: threading.Event) -> None:
    """Send an answer to each call at once."""
    while not over.is_set() and connection.recv(65_536):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
