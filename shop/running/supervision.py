"""Keeps the programs and servers running: what died is started again after a pause, and everything stops in order."""

import signal
import time
from collections.abc import Callable, Collection, Sequence

from lapse import LapseError
from lapse.testing.servers import PrivateServer
from shop.running.output import say
from shop.running.program import Program

LOOK_EVERY = 0.1
"""Seconds between two checks of the child processes."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds until a program that died is started again: doubled after each death, from the first to the longest."""

HEALTHY_AFTER = 60.0
"""Seconds after which a program's pause is reset to the first."""

SHOWN_LINES = 5
"""The number of lines of a server's log that are shown when the server died."""

HURRIED = 1.0
"""Seconds that a program still has after a second signal."""

SAME_SIGNAL = 1.0
"""Seconds within which a second signal is the same one: make and its process group both pass it on."""


class Signals:
    """Ctrl-C, SIGTERM and SIGHUP: the first signal raises KeyboardInterrupt, later ones only set `hurry`."""

    def __init__(self) -> None:
        self.stopping = False
        self._received_at = 0.0
        self.hurry = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started by nohup, to outlive its terminal
            signal.signal(number, lambda *_: self._receive())

    def _receive(self) -> None:
        if self.stopping:
            self.hurry = self.hurry or time.monotonic() - self._received_at > SAME_SIGNAL
            return
        self.stopping = True
        self._received_at = time.monotonic()
        raise KeyboardInterrupt


class KeptProgram:
    """A program that is started again whenever it dies, after a pause that grows while it keeps dying.

    `what` names the program in messages. `lost` is a sentence about what is lost when it dies.
    """

    def __init__(self, what: str, start: Callable[[], Program], *, lost: str = "") -> None:
        self._what = what
        self._start = start
        self._lost = f" {lost}" if lost else ""
        self._pause = FIRST_PAUSE
        self._again_at = 0.0
        self.program: Program | None = None
        self.look()

    def look(self) -> None:
        """Start the program if its pause is over, and print a message if it died."""
        now = time.monotonic()
        if self.program is None:
            if now >= self._again_at:
                self.program, self._started_at = self._start(), now
            return
        if self.program.exit_code is None:
            return
        code = self.program.collect()
        self.program = None
        if now - self._started_at >= HEALTHY_AFTER:
            self._pause = FIRST_PAUSE
        again = f"It is started again in {self._pause:.0f} s."
        say(f"The {self._what} ended ({ending(code)}). {again}{self._lost}", error=True)
        self._again_at = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def end(self, signals: Signals) -> None:
        """Stop the program in order, if it runs."""
        if self.program is not None:
            end(self.program, signals)


class KeptServers:
    """The servers of this run. A server that dies is started again on its data, at the same address."""

    def __init__(self, servers: Collection[PrivateServer]) -> None:
        self._servers = servers
        self._again_at = 0.0

    def look(self) -> None:
        """Start servers that died again. If that fails, print the error and try again later."""
        if time.monotonic() < self._again_at:
            return
        for server in self._servers:
            if server.running:
                continue
            last_lines = server.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
            say("\n  ".join([f"{server.name} died. It is started again on its data.", *last_lines]), error=True)
            try:
                server.restart()
            except (LapseError, OSError) as error:
                say(f"{error}\nThe next try is in {LONGEST_PAUSE:.0f} s.", error=True)
                self._again_at = time.monotonic() + LONGEST_PAUSE


def watch(web: Program, programs: Sequence[KeptProgram], servers: KeptServers) -> int:
    """Keep the programs and the servers running until the web server dies, and return its exit code, never 0."""
    while web.exit_code is None:
        servers.look()
        for program in programs:
            program.look()
        time.sleep(LOOK_EVERY)
    code = web.collect()
    say(f"The web server ended ({ending(code)}). Its last lines:", error=True)
    for line in web.last_lines:
        say(f"  {line}", error=True)
    return code or 1


def end(program: Program, signals: Signals) -> None:
    """Stop the program by SIGTERM, and kill it when its grace is over or a second signal came."""
    if program.exit_code is None:
        program.supervised.send_signal(signal.SIGTERM)
    kill_at = time.monotonic() + program.grace
    while program.exit_code is None:
        if signals.hurry:
            kill_at = min(kill_at, time.monotonic() + HURRIED)
        if time.monotonic() >= kill_at:
            program.supervised.end(signal.SIGKILL, program.grace)
        time.sleep(LOOK_EVERY / 5)
    program.collect()


def ending(code: int) -> str:
    """Return in words how a program ended."""
    first_signal = 128
    if code > first_signal:
        return f"killed by {signal.Signals(code - first_signal).name}"
    return f"exit code {code}"
