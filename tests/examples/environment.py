"""Environments of examples that need libraries which the tests of Lapse do not have."""

import fcntl
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def programs_of(name: str) -> Path:
    """Return the folder of the programs of `.venv-NAME`, which is made of `requirements/NAME.txt` if it is missing."""
    venv = f".venv-{name}"
    command = ["make", "--no-print-directory", f"{venv}/{name}.stamp", f"VENV={venv}", f"PYTHON={sys.executable}"]
    with (CHECKOUT / "requirements" / f"{name}.txt").open() as pins:
        fcntl.flock(pins, fcntl.LOCK_EX)  # another process of the tests may be making it
        made = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=900)
    assert made.returncode == 0, made.stdout + made.stderr
    return CHECKOUT / venv / "bin"
