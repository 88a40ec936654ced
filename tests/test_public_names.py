"""The public names: each `__all__` is sorted and has all that its module offers, and nothing else."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

PUBLIC = [
    "lapse",
    "lapse.delivering",
    "lapse.gateways.alipay",
    "lapse.integrations.django",
    "lapse.integrations.django.outbox",
    "lapse.observability",
    "lapse.orders",
    "lapse.testing.servers",
]


def imported_names(module: str) -> set[str]:
    """Return the names that the module imports for others, as its source has them."""
    file = import_module(module).__file__
    assert file
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    imports = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    return {alias.asname or alias.name for node in imports for alias in node.names}


def sort_key(name: str) -> tuple[bool, bool, str]:
    """Return what sorts constants before classes before functions, each by the alphabet, as the linter does."""
    return (not name.isupper(), name[0].islower(), name)


@pytest.mark.parametrize("module", PUBLIC)
def test_all_is_sorted_and_complete(module: str) -> None:
    """Everything that is imported publicly is listed once, in order, and can be imported."""
    found = import_module(module)
    assert found.__all__ == sorted(set(found.__all__), key=sort_key)
    assert set(found.__all__) == imported_names(module)
    for name in found.__all__:
        assert hasattr(found, name), f"{module} has no {name}"


def test_every_error_of_the_engine_is_public() -> None:
    """Every error that an adopter catches can be imported from the package."""
    lapse, errors = import_module("lapse"), import_module("lapse.engine.errors")
    defined = {name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, Exception)}
    assert defined <= set(lapse.__all__)


def test_the_version_is_the_one_of_the_project() -> None:
    """The package and its metadata agree."""
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert version
    assert import_module("lapse").__version__ == version[1]
