"""`python -m tests.model`: check the whole model, then take out each protection and print how it breaks."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.model.checking import BROKEN, WHOLE, missing, search


def main() -> int:
    """Print what Spin finds. Return 1 if the whole model has an error, or if a protection protects nothing."""
    if lacking := missing():
        sys.exit(f"Missing here: {', '.join(lacking)}. On Debian or Ubuntu: apt-get install {' '.join(lacking)}")
    wrong = 0
    for name, run in WHOLE.items():
        with TemporaryDirectory() as folder:
            found = search(run, Path(folder))
        print(f"{name}: {found.violated or 'no error'} in {found.states} states")
        wrong += bool(found.violated)
    for protection, (run, _) in BROKEN.items():
        with TemporaryDirectory() as folder:
            found = search(run, Path(folder), shortest=True)
        print(f"\nWithout {protection}: {found.violated or 'no error'}")
        for step in found.trace:
            print(f"  {step}")
        wrong += not found.violated
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
