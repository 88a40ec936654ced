"""Translates the Redis client's exceptions into Lapse's errors. This is the only place that does so."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from lapse.engine.errors import TimerRefused, TimerUnavailable

_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterError,  # also raised when sixteen tries did not reach a slot that is moving between nodes
    exceptions.TryAgainError,
    exceptions.RedisClusterException,
)
_FINAL = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
# The code is at the start of the reply. Up to Redis 6.2 it follows the script's line: "…: @user_script: 9: -READONLY
# …".
_PASSING_REPLY = re.compile(
    r"(^-?|: -)(LOADING|READONLY|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MISCONF|OOM|BUSY|UNKILLABLE)\b"
)


class Demoted(TimerUnavailable):
    """The server is a replica now. Its host name may lead to another server, which no open connection notices."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise TimerUnavailable or TimerRefused in place of the client's exceptions."""
    try:
        yield
    except _FINAL as error:
        raise TimerRefused(f"Redis refused: {error}. Check the user, the password and the ACL in the URL") from error
    except exceptions.ReadOnlyError as error:
        raise Demoted(f"Redis cannot do it now: {error}") from error
    except _PASSING as error:
        raise TimerUnavailable(f"Redis gave no answer: {error}") from error
    except exceptions.ResponseError as error:
        if found := _PASSING_REPLY.search(str(error)):
            passing = Demoted if found[2] == "READONLY" else TimerUnavailable
            raise passing(f"Redis cannot do it now: {error}") from error
        raise TimerRefused(f"Redis refused: {error}") from error
