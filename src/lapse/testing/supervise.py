"""Start a program that cannot outlive whoever started it, even when that one is killed by SIGKILL.

A small process, the leash, stands between the two: `supervise_process.py`, which says how it is done.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from lapse.engine.clock import SYSTEM_CLOCK

LEASH = Path(__file__).with_name("supervise_process.py")


class Leashed(subprocess.Popen[bytes]):
    """A command on its leash. As a process, this is the leash; `child` is the number of the command's own process.

    It ends when the command and all that the command started have ended, with the command's exit code, or 128 plus
    the number of the signal that ended it. SIGTERM, SIGINT, SIGHUP and SIGQUIT sent to it are passed on.
    """

    child: int

    @property
    def running(self) -> bool:
        """Whether the command lives, frozen or not."""
        return self.poll() is None

    def end(self, number: signal.Signals, within: float) -> int:
        """Send the signal and wait until all is gone, after `within` seconds by force. Returns the exit code."""
        if self.running:
            os.kill(self.child if number is signal.SIGKILL else self.pid, number)
        try:
            self.wait(within)
        except subprocess.TimeoutExpired:
            os.kill(self.child, signal.SIGKILL)
        return self.close()

    def close(self) -> int:
        """Let go of the leash and wait for its end. Returns the exit code."""
        if self.stdin is not None:
            self.stdin.close()
        return self.wait()


def start(
    command: Sequence[str],
    *,
    output: IO[bytes] | int | None = None,
    user: str | None = None,
    grace: float = 10.0,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    keep: int | None = None,
) -> Leashed:
    """Start `command` on a leash; its standard output and error go to `output`.

    When the starter dies the command is sent SIGTERM, and after `grace` seconds SIGKILL. The command has a session
    of its own, so Ctrl-C at the terminal does not reach it.

    `user` is whom to become first, where the starter is root. Such a command keeps one right of root's, to pass
    directories that are closed to others, so that it works below a private directory.

    `keep` is an open file that the leash holds open until the command has ended: a lock on it lasts as long.
    """
    told, tell = os.pipe()
    leash = [sys.executable, "-I", "-S", str(LEASH), f"--parent={os.getpid()}", f"--tell={tell}", f"--grace={grace}"]
    if user is not None:
        leash.append(f"--user={user}")
    if keep is not None:
        leash.append(f"--keep={keep}")
    try:
        leashed = Leashed(
            [*leash, "--", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            env=environment,
            cwd=directory,
            start_new_session=True,
            pass_fds=(tell,) if keep is None else (tell, keep),
        )
    finally:
        os.close(tell)
        number = os.read(told, 32)  # nothing, where the leash ended before it could say
        os.close(told)
    if not number:
        raise ChildProcessError(f"could not start {command[0]}: exit code {leashed.close()}")
    leashed.child = int(number)
    return leashed


def lock(file: Path, within: float) -> int:
    """Lock the file, as only one process can, and return it open. The system lets go when its last holder ends.

    Raises BlockingIOError where another holds it for longer than `within` seconds.
    """
    opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = SYSTEM_CLOCK.monotonic() + within
    while True:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if SYSTEM_CLOCK.monotonic() >= end:
                os.close(opened)
                raise
            SYSTEM_CLOCK.sleep(0.05)
        else:
            return opened
