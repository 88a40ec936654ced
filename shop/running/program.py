"""One program that `make run` keeps: started under supervision, its output relayed, its exit code known."""

import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from lapse.testing import supervise
from shop.running.output import relay

LAST_LINES = 20


class Program:
    """A child process. `grace` is how many seconds it has to end in good order."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        keep: int,
        grace: float,
    ) -> None:
        self.name = name
        self.grace = grace
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.supervised = supervise.start(
            command,
            output=subprocess.PIPE,
            directory=directory,
            environment=environment,
            keep=keep,
            grace=grace,
        )
        self._reader = threading.Thread(target=self._relay, name=f"output-{name}", daemon=True)
        self._reader.start()

    @property
    def exit_code(self) -> int | None:
        """How it ended, 128 and more for a signal; None while it lives."""
        return self.supervised.poll()

    def collect(self) -> int:
        """Wait for the end of the program and of its output, and return the exit code."""
        code = self.supervised.close()
        self._reader.join(5)
        return code

    def _relay(self) -> None:
        if self.supervised.stdout is None:
            return
        with self.supervised.stdout:
            for line in self.supervised.stdout:
                text = line.decode(errors="replace").rstrip("\r\n")
                self.last_lines.append(text)
                relay(self.name, text)
