"""Start a program that cannot outlive its starter, even when the starter is killed by SIGKILL.

A small process, the supervisor, stands between the two: see `supervise_process.py`.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from lapse.engine.clock import SYSTEM_CLOCK

SUPERVISOR = Path(__file__).with_name("supervise_process.py")


class Supervised(subprocess.Popen[bytes]):
    """A command under supervision. The Popen itself is the supervisor; `child` is the process id of the command.

    The supervisor ends when the command and every process that the command started have ended. Its exit code is the
    command's, or 128 plus the number of the signal that ended the command. The supervisor passes SIGTERM, SIGINT,
    SIGHUP and SIGQUIT on to the command.
    """

    child: int

    @property
    def running(self) -> bool:
        """Whether the command lives, frozen or not."""
        return self.poll() is None

    def end(self, number: signal.Signals, within: float) -> int:
        """Send the signal, and SIGKILL after `within` seconds. Return the exit code once all processes have ended."""
        if self.running:
            with suppress(ProcessLookupError):  # the command has ended by itself, and what it started is still there
                os.kill(self.child if number is signal.SIGKILL else self.pid, number)
        try:
            self.wait(within)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):  # only what the command started is left; the supervisor ends that
                os.kill(self.child, signal.SIGKILL)
        return self.close()

    def close(self) -> int:
        """Close the pipe that says the starter lives, wait for the supervisor's end and return the exit code."""
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
) -> Supervised:
    """Start `command` under supervision and return its process; its standard output and error go to `output`.

    When the starter dies the command receives SIGTERM, and after `grace` seconds SIGKILL. The command has a session
    of its own, so Ctrl-C at the terminal does not reach it.

    `user` is the account that the command becomes first, where the starter is root. Such a command keeps one right
    of root's, to pass directories that are closed to others, so that it works below a private directory.

    `keep` is an open file that the supervisor holds open until the command has ended: a lock on it lasts as long.

    Raises ChildProcessError where the supervisor could not start the command.
    """
    reading, writing = os.pipe()
    options = [f"--parent={os.getpid()}", f"--report={writing}", f"--grace={grace}"]
    if user is not None:
        options.append(f"--user={user}")
    if keep is not None:
        options.append(f"--keep={keep}")
    try:
        process = Supervised(
            [sys.executable, "-I", "-S", str(SUPERVISOR), *options, "--", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            env=environment,
            cwd=directory,
            start_new_session=True,
            pass_fds=(writing,) if keep is None else (writing, keep),
        )
    finally:
        os.close(writing)
        child = os.read(reading, 32)  # empty where the supervisor ended before it could report
        os.close(reading)
    if not child:
        raise ChildProcessError(f"could not start {command[0]}: exit code {process.close()}")
    process.child = int(child)
    return process


def lock(file: Path, within: float) -> int:
    """Lock the file for this process alone and return it open. The system unlocks it when its last holder ends.

    Raises BlockingIOError where another process holds the lock for longer than `within` seconds.
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
