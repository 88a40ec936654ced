"""The shop and the examples use `lapse` as any adopter does: by its public paths only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = ("shop", "examples")
PUBLIC = (
    "lapse",
    "lapse.delivering",
    "lapse.gateways.alipay",
    "lapse.integrations.django",
    "lapse.integrations.django.attempts",
    "lapse.integrations.django.outbox",
    "lapse.integrations.django.outbox.history",
    "lapse.integrations.django.outbox.models",
    "lapse.observability",
    "lapse.observability.logs",
    "lapse.orders",
)
PUBLIC_FOLDER = "lapse.testing"
"""Every module of this package is public: it is made for the tests of adopters."""


def private_imports(source: str) -> Iterator[str]:
    """Yield each module of `lapse` that the source imports by a path that is not public."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        else:
            continue
        for module in modules:
            if module.split(".")[0] == "lapse" and not is_public(module):
                yield module


def is_public(module: str) -> bool:
    """Return whether adopters may import the module."""
    return module in PUBLIC or f"{module}.".startswith(f"{PUBLIC_FOLDER}.")


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_public_paths_are_imported(folder: str) -> None:
    """No file of the shop or of the examples imports an internal module of `lapse`."""
    files = sorted((CHECKOUT / folder).rglob("*.py"))
    assert files
    found = {
        file.relative_to(CHECKOUT).as_posix(): list(private_imports(file.read_text(encoding="utf-8"))) for file in files
    }
    assert {file: modules for file, modules in found.items() if modules} == {}


def test_an_internal_path_is_found() -> None:
    """The check finds internal modules in both forms of an import, also inside a function."""
    source = (
        "import lapse.engine.timer\nfrom lapse import Timer\ndef f():\n    from lapse.orders.lapsing import Lapsing\n"
    )
    assert list(private_imports(source)) == ["lapse.engine.timer", "lapse.orders.lapsing"]
