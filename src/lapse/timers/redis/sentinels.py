"""The master that Sentinels name, and sentences for the cases in which the Sentinels name none."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis
from redis import exceptions
from redis.sentinel import Sentinel

from lapse.engine.errors import TimerRefused, TimerUnavailable
from lapse.timers.redis.errors import hello_hint

ANSWER_WITHIN = 1.0
"""Seconds after which the next Sentinel is asked."""

_ACCOUNT = (
    "refuses the account: add ?sentinel_password=… to the URL, and &sentinel_username=… for a user of its ACL, who may "
    "run SENTINEL MASTERS"
)
_SHARED = ("protocol", "client_name", "ssl")
"""Settings of the connections to the master that the connections to Sentinels have too, with all that begin `ssl_`."""


def master_of(
    service: str, sentinels: Sequence[tuple[str, int]], *, own: Mapping[str, Any], settings: Mapping[str, Any]
) -> redis.Redis:
    """Return a client of the master. `own` is the account at the Sentinels; the master's is in `settings`."""
    timeouts = {"socket_timeout": ANSWER_WITHIN, "socket_connect_timeout": ANSWER_WITHIN}
    shared = {name: value for name, value in settings.items() if name in _SHARED or name.startswith("ssl_")}
    manager = _Sentinels(  # type: ignore[no-untyped-call] # the library has no types here
        sentinels, sentinel_kwargs={**shared, **own, **timeouts}
    )
    return cast("redis.Redis", manager.master_for(service, **settings))  # type: ignore[no-untyped-call] # no types


class _Sentinels(Sentinel):
    """The library's Sentinels with Lapse's own errors. The library's error repeats its objects, a page long."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the master's host and port.

        Raises TimerRefused if every Sentinel answers, and all of them refuse or do not know the name. Raises
        TimerUnavailable if a Sentinel gives no answer, or if the master itself is down.
        """
        known: set[str] = set()
        silent: list[str] = []
        refusals: list[str] = []
        for position, sentinel in enumerate(self.sentinels):
            where = "{host}:{port}".format_map(sentinel.connection_pool.connection_kwargs)
            try:
                masters = cast("dict[str, dict[str, Any]]", sentinel.sentinel_masters())
            except (exceptions.AuthenticationError, exceptions.NoPermissionError):
                refusals.append(f"the Sentinel at {where} {_ACCOUNT}")
            except (exceptions.ConnectionError, exceptions.TimeoutError):
                silent.append(where)
            except exceptions.ResponseError as error:
                refusals.append(hello_hint(error) or f"the server at {where} is no Sentinel: its port is usually 26379")
            else:
                state = masters.get(service_name)
                if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call] # no types
                    self.sentinels.insert(0, self.sentinels.pop(position))  # this Sentinel is asked first the next time
                    return str(state["ip"]), int(state["port"])
                known |= set(masters)
        if service_name in known:
            raise TimerUnavailable(f"the Sentinels know {service_name!r}, but its master is down")
        if known:
            names = ", ".join(sorted(known))
            refusals.append(f"the Sentinels know no master named {service_name!r}: they know {names}")
        if silent:
            raise TimerUnavailable("; ".join([f"no answer from the Sentinels at {', '.join(silent)}", *refusals]))
        raise TimerRefused(
            refusals[0] if refusals else f"the Sentinels watch no master, so none named {service_name!r}"
        )
