"""What a mechanism promises is stated by its module and by its classes alike."""

from importlib import import_module
from inspect import getmembers, isclass

import pytest

from lapse.config import MECHANISMS, traits_of
from lapse.engine.timer import Traits

MODULES = sorted({module for module, _ in MECHANISMS.values()})


@pytest.mark.parametrize("module", MODULES)
def test_every_class_has_the_traits_of_its_module(module: str) -> None:
    """`traits_of` reads the module's TRAITS and a worker reads the timer's: both are the same object."""
    mechanism = import_module(module)
    traits = [
        traits
        for _, member in getmembers(mechanism, isclass)
        if member.__module__ == module and (traits := getattr(member, "traits", None)) is not None
    ]
    assert traits, f"no class of {module} states its traits"
    assert isinstance(mechanism.TRAITS, Traits)
    assert all(each is mechanism.TRAITS for each in traits)


def test_every_mechanism_has_a_name_of_its_own() -> None:
    """Two modules never state the same mechanism, and the schemes of one module share its traits."""
    names = {traits_of(scheme).mechanism for scheme in MECHANISMS}
    assert len(names) == len(MODULES)
