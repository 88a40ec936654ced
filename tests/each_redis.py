"""Every Redis of this machine, as the parameters of a fixture."""

import pytest
from _pytest.mark import ParameterSet

from lapse.testing.servers import redis_binaries


def each_redis() -> list[ParameterSet]:
    """Return a parameter for each redis-server. `make test` takes the first one, `make test-long` the others."""
    return [
        pytest.param(binary, id=binary.parent.parent.name, marks=pytest.mark.long if position else ())
        for position, binary in enumerate(redis_binaries())
    ]
