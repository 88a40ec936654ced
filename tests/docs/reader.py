"""A reader who does what a page says, in a folder of his own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lapse.testing.ports import free_port
from tests.docs.pages import CHECKOUT, Step
from tests.examples.environment import programs_of

PATIENCE = 240.0
"""Seconds that anything may take before it counts as hung."""

REDIS = "redis://localhost:6379/0"
"""The address that the pages write; the reader has another one."""

PORT = "28417"
"""The port that the pages write for a program of the reader's own; he has another one, which is free."""


@dataclass(frozen=True, slots=True)
class Program:
    """Something that runs, and the file that it prints to."""

    process: subprocess.Popen[bytes]
    printed: Path

    def wait_for(self, text: str) -> None:
        """Wait until it has printed the text."""
        end = time.monotonic() + PATIENCE
        while text not in self.output:
            assert self.process.poll() is None, f"it ended before it printed {text!r}:\n{self.output}"
            assert time.monotonic() < end, f"it never printed {text!r}:\n{self.output}"
            time.sleep(0.05)

    def end(self) -> None:
        """Ask it to stop, as Ctrl-C or a service manager would; it must end in good order."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.output

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.printed.read_text(encoding="utf-8", errors="replace")


class Reader:
    """Does the steps of one page in `folder`; `redis` is the address of the server that he has."""

    def __init__(self, folder: Path, redis: str) -> None:
        self._folder = folder
        self._redis = redis
        self._port = str(free_port())
        self._output = ""
        self._programs: list[Program] = []
        self._printed = folder.with_name(f"{folder.name}-printed")
        self._printed.mkdir()
        foreign = ("DJANGO_", "LAPSE_", "DATABASE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        # The programs of the environment that runs the tests come first, as in one that a reader has activated.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**kept, "PATH": path, "PYTHONUNBUFFERED": "1"}

    def do(self, step: Step) -> None:
        """Do one step. Raises AssertionError where the page is not true."""
        detail = self._here(step.detail)
        match step.order:
            case "not run":
                pass
            case "shop" | "environment":
                self._prepare(step.order, detail)
            case "file" | "append":
                path = self._folder / detail
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("w" if step.order == "file" else "a", encoding="utf-8") as file:
                    file.write(self._here(step.text))
            case "output":
                assert_printed(step.text, self._output)
            case "stop":
                self._programs.pop().end()
            case "until" | "meanwhile":
                program = self._start(self._command(step), step.line)
                program.wait_for(detail)
                if step.order == "until":
                    self._programs.pop().end()
                self._output = program.output
            case "run":
                self._run(["bash", "-ec", detail], step.line)
            case _ if step.is_done:
                self._run(self._command(step), step.line)

    def _prepare(self, order: str, detail: str) -> None:
        if order == "shop":
            shutil.copytree(CHECKOUT / detail, self._folder, dirs_exist_ok=True)
        else:
            self._environment["PATH"] = f"{programs_of(detail)}{os.pathsep}{self._environment['PATH']}"

    def _command(self, step: Step) -> list[str]:
        text = self._here(step.text)
        if step.language != "python":
            # `exec` lets a signal reach the program itself and not a shell that waits for it.
            return ["bash", "-ec", f"exec {text}" if step.order in {"until", "meanwhile"} else text]
        if step.order == "django":
            return ["python", "manage.py", "shell", "--command", text]
        script = self._folder / f"block_{step.line}.py"
        script.write_text(text, encoding="utf-8")
        return ["python", script.name]

    def _run(self, command: list[str], line: int) -> None:
        program = self._start(command, line)
        code = program.process.wait(PATIENCE)
        self._programs.remove(program)
        self._output = program.output
        assert code == 0, f"line {line} failed:\n{program.output}"

    def _start(self, command: list[str], line: int) -> Program:
        printed = self._printed / f"{line}.txt"
        with printed.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        program = Program(process, printed)
        self._programs.append(program)
        return program

    def _here(self, text: str) -> str:
        return text.replace(REDIS, self._redis).replace(PORT, self._port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._programs and error is None:
                self._programs.pop().end()
        finally:
            for program in self._programs:
                program.process.kill()
                program.process.wait()


def assert_printed(wanted: str, output: str) -> None:
    """Find every line of `wanted` in the output, in order; `…` in it stands for anything."""
    rest = iter(line.strip() for line in output.splitlines())
    for line in wanted.splitlines():
        pattern = ".*".join(re.escape(part) for part in line.strip().split("…"))
        assert any(re.fullmatch(pattern, found) for found in rest), f"no line {line!r}, in this place, in:\n{output}"
