"""Keeping the programs and servers going: who died, who is started again and when, and the end in good order."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence

from lapse.engine.errors import LapseError
from lapse.testing.servers import PrivateServer
from shop.running.output import say
from shop.running.program import Program

LOOK_EVERY = 0.1
"""Seconds between two looks at the children."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds until a program that died is started again: doubled each time, from the first to the longest."""

HEALTHY_AFTER = 60.0
"""Seconds that a program must have lived for its next death to count as the first."""

SHOWN_LINES = 5
"""Lines of a server's log that are shown when it ended by itself."""

HURRIED = 1.0
"""Seconds that are left to a program once a second signal came."""


SAME_SIGNAL = 1.0
"""Seconds within which a second signal is the first one once more: both make and its process group pass it on."""


class Signals:
    """Ctrl-C, SIGTERM and SIGHUP: the first raises KeyboardInterrupt, later ones only say that it is urgent."""

    def __init__(self) -> None:
        self.stopping = False
        self._came_at = 0.0
        self.hurry = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started by nohup: meant to outlive its terminal
            signal.signal(number, lambda *_: self._came())

    def _came(self) -> None:
        if self.stopping:
            self.hurry = self.hurry or time.monotonic() - self._came_at > SAME_SIGNAL
            return
        self.stopping = True
        self._came_at = time.monotonic()
        raise KeyboardInterrupt


class KeptProgram:
    """A program: whenever it dies it is started again, after a pause that grows while it keeps dying.

    `what` is what it is called when it died, and `lost` a sentence on what is lost then.
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
        """Start it where it is time, say so where it died."""
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
        """End it in good order, where it runs."""
        if self.program is not None:
            end(self.program, signals)


class KeptServers:
    """The database and the Redis of this run: whichever dies is started again on its data, at the same address."""

    def __init__(self, servers: Mapping[str, PrivateServer]) -> None:
        self._servers = servers
        self._again_at = 0.0

    def look(self) -> None:
        """Start again what died; where that fails, say so and try once more a little later."""
        if time.monotonic() < self._again_at:
            return
        for name, server in self._servers.items():
            if server.running:
                continue
            last_lines = server.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
            say("\n  ".join([f"{name} ended by itself. It is started again on its data.", *last_lines]), error=True)
            try:
                server.restart()
            except (LapseError, OSError) as error:
                say(f"{error}\nThe next try is in {LONGEST_PAUSE:.0f} s.", error=True)
                self._again_at = time.monotonic() + LONGEST_PAUSE


def watch(web: Program, programs: Sequence[KeptProgram], servers: KeptServers) -> int:
    """Keep the programs and the servers going until the web server dies; return its exit code, never 0."""
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
    """Ask it to end; kill it when its grace, or our patience, is over."""
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
    """Say how a program ended."""
    first_signal = 128
    if code > first_signal:
        return f"killed by {signal.Signals(code - first_signal).name}"
    return f"exit code {code}"
