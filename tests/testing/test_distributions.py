"""Two distributions of one version: what a shop deploys, and what tests and demos need."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import lapse

CHECKOUT = Path(__file__).parents[2]


def project(folder: str) -> dict[str, Any]:
    """Read a pyproject.toml."""
    return tomllib.loads((CHECKOUT / folder / "pyproject.toml").read_text(encoding="utf-8"))


def test_both_have_one_version() -> None:
    """lapse-testing has the version of lapse, and wants exactly that lapse beside it."""
    testing = project("lapse-testing")["project"]
    assert testing["version"] == lapse.__version__
    assert testing["dependencies"] == [f"lapse=={lapse.__version__}"]


def test_the_checkout_installs_what_lapse_testing_needs() -> None:
    """The pins come from the project's own extras and groups, so that these hold the extras of lapse-testing too."""
    main, testing = project("."), project("lapse-testing")["project"]
    lists = [*main["project"]["optional-dependencies"].values(), *main["dependency-groups"].values()]
    pinned = [requirement for requirements in lists for requirement in requirements]
    for requirements in testing["optional-dependencies"].values():
        assert [requirement for requirement in requirements if requirement not in pinned] == []


def test_without_lapse_testing_the_import_says_how_to_get_it(tmp_path: Path) -> None:
    """Where a shop has the package without its tests' tools, the error is the command that installs these."""
    source = CHECKOUT / "src" / "lapse"
    (tmp_path / "lapse").mkdir()
    for file in source.iterdir():
        if file.name != "testing":
            (tmp_path / "lapse" / file.name).symlink_to(file)
    program = "import lapse.testing.servers"
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode
    assert "pip install . ./lapse-testing" in run.stderr.splitlines()[-1]
