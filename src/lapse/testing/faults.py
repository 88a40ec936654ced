"""Fault switches: a network that loses or delays data, and a process that a test kills or freezes."""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from lapse.testing import supervise

CHUNK = 65_536
END_WITHIN = 30.0
"""Seconds that a process may take to end after a signal."""


class Proxy:
    """A proxy on 127.0.0.1: passes all bytes between its clients and the server on `port` until a fault is switched on.

    The proxy listens on its own attribute `port`. It can `cut` all connections, be `silent` as a half-open connection
    is, `swallow` the answer to one request, or `alter` what the server sends. `restore` ends every fault.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._closed = False
        self.is_cut = False
        self.is_silent = False
        self.unanswered = b""
        self.altered = (b"", b"")
        self.swallowed = threading.Event()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> None:
        """End every connection now, and each new one at once, as where no server listens."""
        self.is_cut = True
        self._end_pairs()

    def drop(self) -> None:
        """End every connection once; new connections work."""
        self._end_pairs()

    def move(self, port: int) -> None:
        """Connect new clients to the server on another port. Connections to the first server become half open."""
        with self._lock:
            self._server_port = port
            for pair in self._pairs:
                pair.half_open = True

    def silent(self) -> None:
        """Accept all bytes, pass nothing on in either direction and keep connections open: no answer ever comes."""
        self.is_silent = True

    def swallow(self, request: bytes) -> None:
        """Pass on the next request that has these bytes, and discard its answer. The event `swallowed` is then set."""
        self.swallowed.clear()
        self.unanswered = request

    def alter(self, original: bytes, replacement: bytes) -> None:
        """Replace bytes in everything that the server sends. Raises ValueError if the two lengths differ."""
        if len(original) != len(replacement):
            raise ValueError("the lengths must be equal, or the protocol breaks")
        self.altered = (original, replacement)

    def restore(self) -> None:
        """Pass everything on again. Bytes that the silent proxy discarded stay lost: those connections end."""
        was_silent = self.is_silent
        self.is_cut = self.is_silent = False
        self.unanswered, self.altered = b"", (b"", b"")
        if was_silent:
            self._end_pairs()

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._closed = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # a thread may be in accept
        self._listening.close()
        self._end_pairs()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self.is_cut or self._closed:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self._server_port), 5.0)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = _Pair(self, client, server)
            with self._lock:
                self._pairs.append(pair)
            pair.start()

    def _end_pairs(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.end()


class _Pair:
    """One connection: a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._discards_answers = False
        self.half_open = False

    def start(self) -> None:
        for run in (self._pass_requests, self._pass_answers):
            threading.Thread(target=run, name="proxy", daemon=True).start()

    def end(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pass_requests(self) -> None:
        with suppress(OSError), self._client:
            while data := self._client.recv(CHUNK):
                if self._proxy.is_silent or self.half_open:
                    continue
                if self._proxy.unanswered and self._proxy.unanswered in data:
                    self._proxy.unanswered, self._discards_answers = b"", True
                self._server.sendall(data)
            self.end()

    def _pass_answers(self) -> None:
        with suppress(OSError), self._server:
            while data := self._server.recv(CHUNK):
                if self._discards_answers:
                    self._proxy.swallowed.set()
                elif not self._proxy.is_silent and not self.half_open:
                    self._client.sendall(data.replace(*self._proxy.altered) if self._proxy.altered[0] else data)
            self.end()


class ChildProcess:
    """A program in a process of its own that a test freezes, kills or asks to stop. It ends with the test."""

    def __init__(self, command: Sequence[str]) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._process = supervise.start(list(command), output=self._output)

    @property
    def output(self) -> str:
        """What the program has written so far."""
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether the program lives, frozen or not."""
        return self._process.running

    def send_signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        os.kill(self._process.child, number)

    def freeze(self) -> None:
        """Stop the program where it is, as a virtual machine that is paused."""
        self.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the program go on, unaware of the time that has passed."""
        self.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the program by SIGKILL, at any point of its work."""
        with suppress(ProcessLookupError):  # it has ended by itself, and what it started is still there
            self.send_signal(signal.SIGKILL)
        self.exit_code()

    def exit_code(self) -> int:
        """Wait for the program's end and return its exit code: 128 plus the number of a signal that ended it."""
        return self._process.wait(END_WITHIN)

    def close(self) -> None:
        """Kill the program if it lives, and discard its output."""
        if self.running:
            self.kill()
        self._process.close()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
