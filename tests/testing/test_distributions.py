"""Two distributions of one version: what a shop deploys, and what tests and demos need."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import lapse
from lapse import MissingLibrary
from lapse.config import MECHANISMS

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


def test_b12_what_a_message_installs_is_in_the_checkout() -> None:
    """No index has the package: each command names a folder of the checkout, and extras that its project has."""
    extras = {
        "lapse": {extra for _, extra in MECHANISMS.values() if extra},
        "lapse-testing": set(),
    }
    for path in (CHECKOUT / "src").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "MissingLibrary":
                named = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
                if isinstance(call.args[1], ast.Constant):  # else it is an extra of MECHANISMS
                    extras[named.get("distribution", "lapse")].add(str(call.args[1].value))
    assert "cli" in extras["lapse"]
    assert "simulator" in extras["lapse-testing"]
    for distribution, folder in (("lapse", "."), ("lapse-testing", "./lapse-testing")):
        there = set(project(folder)["project"]["optional-dependencies"])
        for named_together in extras[distribution]:
            assert set(named_together.split(",")) <= there
            message = str(MissingLibrary("it", named_together, distribution=distribution))
            assert message.endswith(f"In a checkout of Lapse run: pip install '{folder}[{named_together}]'")


def test_b12_no_text_installs_the_package_by_its_name() -> None:
    """Such a command would find no package, or one of another author."""
    by_name = re.compile(
        r"""(?:pip|uv)3? (?:pip )?(?:install|add)[^\n`]*[ '"]lapse(?:-testing)?(?:\[|['"`\s]|$)""", re.MULTILINE
    )
    assert by_name.search("pip install 'lapse[redis]'")
    assert not by_name.search("pip install '/path/to/lapse[redis]' ./lapse-testing")
    roots = [
        CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "examples", "shop", "src")
    ]
    for root in roots:
        for path in root.rglob("*") if root.is_dir() else [root]:
            if path.suffix in {".md", ".py", ".html", ".toml", ".txt"}:
                assert not by_name.search(path.read_text(encoding="utf-8")), path
