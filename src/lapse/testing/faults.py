"""Fault switches: a network that misbehaves, and a process that is killed or frozen."""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from lapse.testing import supervise

CHUNK = 65_536
END_WITHIN = 30.0
"""Seconds that a rehearsed process may take to end once it was told to."""


class Proxy:
    """Stands on a port of 127.0.0.1 before the server on another one, and passes everything on until told otherwise.

    `port` is its own. It can `cut` all connections, fall `silent` as a half-open connection does, `swallow` the answer
    to one request, or `alter` what the server says. `mend` ends all of that.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
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
        """End every connection, and each new one at once, as where no server is."""
        self.is_cut = True
        self._end_pairs()

    def drop(self) -> None:
        """End every connection once; new ones are fine."""
        self._end_pairs()

    def move(self, port: int) -> None:
        """Stand before another server from now on. Connections to the first fall silent: they are half open."""
        with self._lock:
            self._behind = port
            for pair in self._pairs:
                pair.half_open = True

    def silent(self) -> None:
        """Take what is sent, pass nothing on in either direction, and end nothing: the answer never comes."""
        self.is_silent = True

    def swallow(self, request: bytes) -> None:
        """Pass on the next request that has these bytes, and keep its answer. `swallowed` is set when that was."""
        self.swallowed.clear()
        self.unanswered = request

    def alter(self, said: bytes, heard: bytes) -> None:
        """Put other bytes, as many, in the place of what the server says."""
        if len(said) != len(heard):
            raise ValueError("the lengths must be equal, or the protocol breaks")
        self.altered = (said, heard)

    def mend(self) -> None:
        """Pass everything on again. What was sent into the silence stays lost: its connections end."""
        silent, self.is_cut, self.is_silent, self.unanswered, self.altered = (
            self.is_silent,
            False,
            False,
            b"",
            (b"", b""),
        )
        if silent:
            self._end_pairs()

    def close(self) -> None:
        """End everything."""
        self._closed = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # a thread may be in accept
        self._listening.close()
        self._end_pairs()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self.is_cut or self._closed:
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self._behind), 5.0)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            pair = _Pair(self, near, far)
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

    def __init__(self, proxy: Proxy, near: socket.socket, far: socket.socket) -> None:
        self._proxy = proxy
        self._near = near
        self._far = far
        self._deaf = False
        self.half_open = False

    def start(self) -> None:
        for run in (self._ask, self._answer):
            threading.Thread(target=run, name="proxy", daemon=True).start()

    def end(self) -> None:
        for end in (self._near, self._far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _ask(self) -> None:
        with suppress(OSError), self._near:
            while data := self._near.recv(CHUNK):
                if self._proxy.is_silent or self.half_open:
                    continue
                if self._proxy.unanswered and self._proxy.unanswered in data:
                    self._proxy.unanswered, self._deaf = b"", True
                self._far.sendall(data)
            self.end()

    def _answer(self) -> None:
        with suppress(OSError), self._far:
            while data := self._far.recv(CHUNK):
                if self._deaf:
                    self._proxy.swallowed.set()
                elif not self._proxy.is_silent and not self.half_open:
                    self._near.sendall(data.replace(*self._proxy.altered) if self._proxy.altered[0] else data)
            self.end()


class Rehearsal:
    """A program in a process of its own that a test freezes, kills or asks to stop. It ends with the test.

    `output` is what it has written so far.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._process = supervise.start(list(command), output=self._output)

    @property
    def output(self) -> str:
        """What the program has written."""
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it lives, frozen or not."""
        return self._process.running

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._process.child, number)

    def freeze(self) -> None:
        """Stop it where it is, as a virtual machine that is paused."""
        self.tell(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, unaware of the time that has passed."""
        self.tell(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        self.tell(signal.SIGKILL)
        self.exit_code()

    def exit_code(self) -> int:
        """Wait for its end. 128 plus the number of the signal where one ended it."""
        return self._process.wait(END_WITHIN)

    def close(self) -> None:
        """End it, if it lives, and forget what it wrote."""
        if self.running:
            self.kill()
        self._process.close()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
