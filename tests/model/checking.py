"""Runs Spin on the model: on the whole one, and on the model without one of its protections."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MODEL = Path(__file__).with_name("lapse.pml")

DEEPEST = 10_000
"""The most steps of one run. A search that would go deeper is not complete, which is an error."""

CYCLE = "and from here on nothing else happens"
"""What a trace says in place of the steps that repeat for ever."""


@dataclass(frozen=True, slots=True)
class Run:
    """One search by Spin. `constants` of the model that differ from its own; `ltl` names the formula to check.

    Without a formula, every assertion is checked.
    """

    constants: Mapping[str, int] = field(default_factory=dict)
    ltl: str = ""

    @property
    def flags(self) -> list[str]:
        """The constants, as Spin and a reader write them."""
        return [f"-D{name}={value}" for name, value in self.constants.items()]


TWO_WORKERS = {"WORKERS": 2}
TWO_ATTEMPTS = {"ATTEMPTS": 2, "PERSONS": 0}
TWO_RECONCILERS = {"RECONCILERS": 2, "PERSONS": 0, "TROUBLES": 2}
EXTENDED = {"EXTENSIONS": 1, "TROUBLES": 0}
UNLUCKY = {"PERSONS": 0, "TROUBLES": 2}

WHOLE = {
    "two workers and a person": Run(TWO_WORKERS),
    "two attempts": Run(TWO_ATTEMPTS),
    "two reconcilers": Run(TWO_RECONCILERS),
    "a person decides": Run({"DECISIONS": 1, "PERSONS": 0}),
    "extended and revived": Run(EXTENDED),
    "never lost": Run(UNLUCKY, "never_lost"),
    "no money unseen": Run(UNLUCKY, "no_money_unseen"),
}
"""The searches of the whole model. None finds an error."""

BROKEN = {
    "the sweep": (Run({"SWEEP": 0, "PERSONS": 0, "TROUBLES": 0}, "never_lost"), "never_lost"),
    "reading again after the lock": (Run({"REREAD": 0, "TROUBLES": 0}), "paid_is_safe"),
    "the lock of finish": (Run({"LOCK": 0, "TROUBLES": 0}), "paid_is_safe"),
    "asking again whether it is due": (Run({"DUE": 0, "EXTENSIONS": 1, "TROUBLES": 0}), "never_early"),
    "the question before the cancel": (Run({"QUESTION": 0, "TROUBLES": 0}), "asked_first"),
    "the link's end": (Run({"LINK_END": 0, "TROUBLES": 0}), "asked_first"),
    "the reconciler": (Run({"RECONCILERS": 0, "PERSONS": 0, "TROUBLES": 0}, "no_money_unseen"), "no_money_unseen"),
    "the refund's key": (Run({"KEY": 0, "RECONCILERS": 2, "PERSONS": 0, "TROUBLES": 0}), "refunded_once"),
    "the refund that was begun": (Run({"BEGUN": 0, "DECISIONS": 1, "PERSONS": 0, "TROUBLES": 0}), "refund_was_due"),
    "the finality of a refund": (Run({"FINALITY": 0, "PERSONS": 0}), "refund_is_final"),
}
"""A protection → a search without it, and the property that breaks. Each protection is one constant of the model."""


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search: the property that broke ("" if none did) and the steps that lead there.

    `states` counts the states that were visited, `unreached` has the statements of each process that never ran.
    """

    violated: str
    trace: Sequence[str]
    states: int
    unreached: Mapping[str, Sequence[str]]


class SearchFailed(Exception):
    """Spin or the compiler did not do its work, or the search ended before every state was visited."""


def missing() -> list[str]:
    """Return which of the two programs that a search needs are not here."""
    return [program for program in ("spin", "gcc") if shutil.which(program) is None]


def search(run: Run, folder: Path, *, shortest: bool = False) -> Found:
    """Search all states of the model in this empty folder and return what was found.

    `shortest`: visit the states in the order of their distance from the start, so that the trace is as short as it can
    be. This needs more memory. A formula is always searched in depth.
    """
    shutil.copy(MODEL, folder)
    _do(folder, "spin", "-o3", "-a", *run.flags, MODEL.name)
    how = ["-DNFAIR=3"] if run.ltl else ["-DSAFETY", "-DNOCLAIM", *(["-DBFS"] if shortest else [])]
    _do(folder, "gcc", "-O0" if shortest else "-O1", "-w", "-DMEMLIM=4000", *how, "-o", "pan", "pan.c")
    # A formula that does not hold is found long before the search is that deep, and a short trace is easier to read.
    deepest = DEEPEST // 10 if shortest else DEEPEST
    search = ["./pan", f"-m{deepest}", "-w22", *(["-a", "-f", "-N", run.ltl] if run.ltl else [])]
    answer = _do(folder, *search)
    violated = re.search(r"assertion violated \(*(\w+)\|\|", answer)
    broken = run.ltl if "acceptance cycle (" in answer else violated[1] if violated else ""
    errors, states = re.search(r"errors: (\d+)", answer), re.search(r"([\d.e+]+) states, stored", answer)
    if errors is None or states is None or (not broken and ("not completed" in answer or errors[1] != "0")):
        raise SearchFailed(answer)
    return Found(broken, _trace(run, folder) if broken else [], int(float(states[1])), _unreached(answer))


def _trace(run: Run, folder: Path) -> list[str]:
    """Return the steps that lead to the error, as the model prints them."""
    steps: list[str] = []
    for line in _do(folder, "spin", "-t", "-T", "-B", *run.flags, MODEL.name).splitlines():
        if "START OF CYCLE" in line:
            return [*steps, CYCLE]
        if not line.startswith(("spin:", "ltl ", "Never claim")):
            steps.append(line.strip())
    return steps


def _unreached(answer: str) -> dict[str, list[str]]:
    parts = re.split(r"^unreached in proctype (\w+)$", answer, flags=re.MULTILINE)
    return {
        name: re.findall(r"^\t\S+, state \d+, (.*)$", part.split("\nunreached in ")[0], re.MULTILINE)
        for name, part in zip(parts[1::2], parts[2::2], strict=True)
    }


def _do(folder: Path, *command: str) -> str:
    """Run a program in the folder and return what it printed. Raise SearchFailed if it fails."""
    done = subprocess.run(  # noqa: PLW1510 - the output is part of the error
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SearchFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout
