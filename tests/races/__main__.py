"""`python -m tests.races`: remove each protection in a copy of the checkout, and see its tests fail by assertions.

With words, only the protections whose names have one of them: `python -m tests.races refund key`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.races.protections import CHECKOUT, PROTECTIONS, Cut, Protection

COPIED = ("src", "shop", "tests", "examples", "pyproject.toml")
SHORTER = [
    Cut(file, "PATIENCE = 60.0", "PATIENCE = 8.0")
    for file in ("tests/orders/gateways.py", "src/lapse/testing/two_at_once.py")
]
"""What never comes to pass is waited for less long."""
ASSERTED = ("assert ", "AssertionError", "Failed: DID NOT RAISE")
"""How an assertion of a test's own begins. Any other error is none."""


def main(words: list[str]) -> int:
    """Print each protection and how its tests end. Return 1 if a test does not fail by an assertion."""
    unseen = []
    for name, protection in PROTECTIONS.items():
        if not words or any(word in name for word in words):
            print(f"Without {name}", flush=True)
            unseen += [f"{name}: {test}" for test in kept(protection)]
    print("\n".join(["Not seen to fail:", *unseen] if unseen else ["Each was seen to fail."]))
    return 1 if unseen else 0


def kept(protection: Protection) -> list[str]:
    """Run the tests without the protection and print why each fails. Return those that fail by no assertion."""
    tests = [f"{file}::{test}" for file, of_file in protection.tests.items() for test in of_file]
    with TemporaryDirectory() as folder:
        for name in COPIED:
            source, copy = CHECKOUT / name, Path(folder, name)
            shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
        for cut in [*SHORTER, *protection.cuts]:
            cut.make(Path(folder))
        command = [sys.executable, "-m", "pytest", "-q", "-n0", "-rf", "--tb=line", "-p", "no:cacheprovider", "-m", ""]
        path = os.pathsep.join([str(Path(folder, "src")), folder])
        run = subprocess.run(
            [*command, *tests],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "300"},
            capture_output=True,
            text=True,
            check=False,
        )
    why = re.findall(r"^FAILED (.+?)(?: - (.*))?$", run.stdout, re.MULTILINE)
    for test, error in why:
        print(f"  {test}: {error}", flush=True)
    if not why:
        print(run.stdout[-3000:], run.stderr[-3000:])
    passed = re.search(r"\d+ (passed|error)", run.stdout)
    failed = [test for test, error in why if error.startswith(ASSERTED)]
    return [test for test in tests if passed or not any(one.startswith(test) for one in failed)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
