"""The programs of this machine, on the path and in wheels that bring a server."""

import filecmp
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path


def find_programs(name: str, folders: Iterable[Path | str]) -> list[Path]:
    """Return the executables of this name in the order of the folders, without links to or copies of earlier ones."""
    return distinct(Path(folder, name) for folder in folders)


def distinct(programs: Iterable[Path]) -> list[Path]:
    """Return those of the programs that can be executed, without links to or copies of earlier ones."""
    found: list[Path] = []
    for program in programs:
        if os.access(program, os.X_OK) and not any(
            program.samefile(known) or filecmp.cmp(program, known, shallow=False) for known in found
        ):
            found.append(program)
    return found


def package_folders(package: str) -> list[Path]:
    """Return the folders of an installed package. The package is not imported: importing it may change much."""
    spec = importlib.util.find_spec(package)
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
