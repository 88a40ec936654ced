"""`lapse worker`: runs a handler, or lapses the orders behind a port, as deadlines become due."""

import sys
from contextlib import suppress
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, cast

import typer

from lapse.cli.arguments import Json, Name, Url, warn_of_password
from lapse.cli.known_name import is_mistyped, names_beside, unknown
from lapse.cli.log import log_hook
from lapse.config import open_timer
from lapse.engine.errors import ConfigError, TimerError
from lapse.engine.events import Event, Hook, Kind
from lapse.engine.worker import Handler, Worker
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Orders
from lapse.orders.service import Service
from lapse.orders.service_options import ServiceOptions

USUAL = ServiceOptions()

PORT = ("overdue", "deadlines", "begin", "finish")
"""The methods by which `--handler` recognises a shop's orders; any other object is a handler."""


def worker(
    url: Url,
    *,
    handler: Annotated[
        str,
        typer.Option(metavar="MODULE:NAME", help="A function that takes claims, or an `Orders` or `Lapsing` object."),
    ],
    name: Name = "orders",
    batch: Annotated[
        int, typer.Option(min=1, help="The largest number of claims in one call of the handler.")
    ] = USUAL.batch,
    lease: Annotated[float, typer.Option(min=0.1, help="Seconds that a claim is held.")] = USUAL.lease.total_seconds(),
    max_attempts: Annotated[int, typer.Option(min=1, help="Tries before a deadline is buried.")] = USUAL.max_attempts,
    drain: Annotated[
        float,
        typer.Option(min=0.001, help="Seconds to finish the batch and the calls to gateways after a signal to stop."),
    ] = (USUAL.drain.total_seconds()),
    sweep_every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two sweeps over the orders; without effect for a function.")
    ] = USUAL.sweep_beside_timer.total_seconds(),
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds after the deadline before the sweep takes an order.")
    ] = USUAL.grace.total_seconds(),
    json: Json = False,
) -> None:
    """Work until SIGTERM or Ctrl-C. You may run any number of workers.

    If --handler names orders, the unpaid orders are armed whenever the timer's server may have lost deadlines. A sweep
    runs beside the timer, so that no order depends on the timer alone.

    [bold]Examples[/bold]

    lapse worker redis://localhost:6379/0 --handler shop.lapsing:orders

    lapse worker redis://localhost:6379/0 --name reminders --handler shop.mail:remind --batch 50 --json
    """
    hooks = (log_hook(json=json),)
    warn_of_password(url)
    target = _load(handler)
    options = ServiceOptions(
        batch=batch,
        lease=timedelta(seconds=lease),
        max_attempts=max_attempts,
        drain=timedelta(seconds=drain),
        sweep_beside_timer=timedelta(seconds=sweep_every),
        grace=timedelta(seconds=grace),
    )
    _warn_if_mistyped(url, name, hooks[0])
    if isinstance(target, Lapsing):
        Service(target, partial(open_timer, url, name=name), name=name, options=options, hooks=hooks).run()
        return
    with open_timer(url, name=name) as timer:
        Worker(
            timer,
            target,
            batch=options.batch,
            lease=options.lease,
            max_attempts=options.max_attempts,
            drain=options.drain,
            hooks=hooks,
        ).run()


def _warn_if_mistyped(url: str, name: str, hook: Hook) -> None:
    """Report a name that is new on the server and similar to one that exists: its worker would find nothing to do."""
    with suppress(TimerError), open_timer(url, name=name) as timer:  # the worker itself reports these errors
        names = names_beside(timer)
        if names is not None and is_mistyped(name, names):
            hook(Event(kind=Kind.UNFIT, timer=name, reason=unknown(name, names)))


def _load(path: str) -> Handler | Lapsing:
    """Import and return the object that `module:name` names. Raises ConfigError if it cannot handle claims."""
    module, _, name = path.partition(":")
    if not module or not name:
        raise ConfigError(f"--handler must be a module and a name in it, like shop.lapsing:orders; got {path!r}")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        target: object = import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot import {path!r}: {error}") from error
    if isinstance(target, type):
        target = target()
    if isinstance(target, Lapsing):
        return target
    if all(hasattr(target, method) for method in PORT):
        return Lapsing(cast("Orders", target))
    if not callable(target):
        raise ConfigError(f"{path!r} is neither a function that takes claims nor orders: it is {target!r}")
    return cast("Handler", target)
