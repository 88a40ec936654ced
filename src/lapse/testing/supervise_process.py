"""The supervisor: a process between a program and the program's starter. It ends the program when the starter ends.

The supervisor holds the reading end of a pipe; only the starter has the writing end. The end of the pipe, or a new
parent, means that the starter has ended. (The kernel's parent-death signal is not enough: it fires when the starting
*thread* ends.) This file is run as a script, with the standard library only, so that it starts within about 20 ms.
"""

import argparse
import ctypes
import os
import pwd
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

CHECK_PARENT_EVERY = 1.0
"""Seconds between two checks of the parent: a forked copy of the starter may hold the pipe open."""

ORPHANS_END = 5.0
"""Seconds in which processes that the program itself started may end by themselves, before they are killed."""

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_SECUREBITS, PR_SET_CHILD_SUBREAPER, PR_CAP_AMBIENT = 1, 8, 28, 36, 47
NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE, CAPABILITY_VERSION, AMBIENT_RAISE = 1, 0x20080522, 2


class Supervisor:
    """Starts the command, watches the command and the starter, and ends with the command's exit code.

    `report` is a pipe to the starter that gets the command's process id. `grace` is in seconds.
    """

    def __init__(self, command: Sequence[str], parent: int, report: int, user: str | None, grace: float) -> None:
        self._parent = parent
        self._grace = grace
        self._code: int | None = None
        self._kill_at: float | None = None
        self._wakeup, writing = os.pipe()
        for end in (self._wakeup, writing):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Python then writes to the wakeup pipe
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._child = os.fork()
        if not self._child:
            _become(command, user, report)
        os.write(report, str(self._child).encode())
        os.close(report)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, self._pass_on)

    def run(self) -> int:
        """Return the command's exit code once the command and every process that it started have ended."""
        watched = [self._wakeup, sys.stdin.fileno()]
        while self._code is None:
            pause = CHECK_PARENT_EVERY if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
            ready, _, _ = select.select(watched, [], [], min(pause, CHECK_PARENT_EVERY))
            if self._wakeup in ready:
                os.read(self._wakeup, 4096)
            if self._kill_at is None and (sys.stdin.fileno() in ready or os.getppid() != self._parent):
                watched = [self._wakeup]
                self._signal(signal.SIGTERM)
                self._kill_at = time.monotonic() + self._grace
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._signal(signal.SIGKILL)
            self._reap()
        self._end_orphans()
        return self._code

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._signal(number)

    def _signal(self, number: int) -> None:
        if self._code is None:  # not reaped yet, so the system has not given the number to another process
            os.kill(self._child, number)

    def _reap(self) -> bool:
        """Collect the children that have ended. Return True while another one lives."""
        try:
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if not process:
                    return True
                if process == self._child:
                    code = os.waitstatus_to_exitcode(status)
                    self._code = code if code >= 0 else 128 - code
        except ChildProcessError:
            return False

    def _end_orphans(self) -> None:
        """Wait for the command's own children, which are ours now; kill those that stay too long."""
        kill_at = time.monotonic() + ORPHANS_END
        while self._reap():
            select.select([self._wakeup], [], [], 0.05)
            if time.monotonic() >= kill_at:
                for orphan in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                    os.kill(int(orphan), signal.SIGKILL)


def _become(command: Sequence[str], user: str | None, report: int) -> None:
    """Turn this new process into the command. Never returns."""
    try:
        starter = os.getppid()
        os.close(report)
        os.setsid()
        for number in (signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        if user is not None and os.geteuid() == 0:
            _drop_root(user)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
        if os.getppid() == starter:
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.execvp(command[0], list(command))  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _drop_root(user: str) -> None:
    """Become `user`, but keep the right to pass directories closed to others, where the system allows that."""
    entry = pwd.getpwnam(user)
    # Rights then outlast the change of user. access(2), by which PostgreSQL looks for its own files, respects them too.
    _prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP)
    _prctl(PR_SET_KEEPCAPS, 1)  # rights outlast the change, where the line above is not permitted
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
        for right in (1 << CAP_DAC_OVERRIDE, 0):  # no right at all, where we may not keep this one
            # Effective, permitted, inheritable; then the high halves of each.
            if libc.capset(header, (ctypes.c_uint32 * 6)(right, right, right)) == 0:
                break
        else:
            raise OSError(ctypes.get_errno(), "could not give up the rights of root")
        _prctl(PR_CAP_AMBIENT, AMBIENT_RAISE, CAP_DAC_OVERRIDE)


def _prctl(option: int, *arguments: int) -> None:
    """Set an option of this process that only Linux has; elsewhere the pipe alone ends the program."""
    if sys.platform == "linux":
        padded = (*arguments, 0, 0, 0, 0)[:4]
        ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(argument) for argument in padded))


def main() -> None:
    """Run the supervisor."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--report", type=int, required=True)
    parser.add_argument("--user")
    parser.add_argument("--keep", type=int)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    if given.keep is not None:
        os.set_inheritable(given.keep, False)  # noqa: FBT003 - positional by Python's own design
    sys.exit(Supervisor(given.command, given.parent, given.report, given.user, given.grace).run())


if __name__ == "__main__":
    main()
