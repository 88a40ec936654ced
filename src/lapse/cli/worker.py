"""`lapse worker`: runs a handler, or lapses the orders behind a port, as deadlines become due."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Annotated, cast

import typer

from lapse.cli.arguments import Json, Name, Url, open_timer
from lapse.cli.log import log_hook
from lapse.engine.errors import ConfigError
from lapse.engine.events import Hook
from lapse.engine.timer import LEASE, Timer
from lapse.engine.worker import DRAIN, MAX_ATTEMPTS, Handler, Worker
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Orders
from lapse.orders.sweep import Sweep

ARM_BATCH = 1000

PORT = ("overdue", "deadlines", "begin", "finish")
"""What an object has that is a shop's orders rather than a handler."""


def worker(
    url: Url,
    *,
    handler: Annotated[
        str,
        typer.Option(metavar="MODULE:NAME", help="A function that takes claims; or orders, or a Lapsing, to lapse."),
    ],
    name: Name = "orders",
    batch: Annotated[int, typer.Option(min=1, help="Claims that the handler gets at once, at most.")] = 500,
    lease: Annotated[float, typer.Option(min=0.1, help="Seconds that a claim is held.")] = LEASE.total_seconds(),
    max_attempts: Annotated[int, typer.Option(min=1, help="Tries before one is buried.")] = MAX_ATTEMPTS,
    drain: Annotated[float, typer.Option(min=0, help="Seconds to finish in, once told to stop.")] = (
        DRAIN.total_seconds()
    ),
    json: Json = False,
) -> None:
    """Work until SIGTERM or Ctrl-C. Run as many as you like.

    With orders, those that are unpaid are armed whenever the timer's server may have lost them, and a sweep runs
    beside the timer, so that no order depends on it.

    [bold]Examples[/bold]

    lapse worker redis://localhost:6379/0 --handler shop.lapsing:orders

    lapse worker redis://localhost:6379/0 --name reminders --handler shop.mail:remind --batch 50 --json
    """
    hook = log_hook(json=json)
    handle, lapsing = _load(handler)
    with open_timer(url, name=name) as timer, _swept(lapsing, name, hook) if lapsing else nullcontext():
        Worker(
            timer,
            handle,
            batch=batch,
            lease=timedelta(seconds=lease),
            max_attempts=max_attempts,
            drain=timedelta(seconds=drain),
            rearm=_rearming(timer, lapsing.orders) if lapsing else None,
            hooks=(hook,),
        ).run()


def _load(path: str) -> tuple[Handler, Lapsing | None]:
    """Import what `module:name` names. Raises ConfigError where that is nothing that can handle claims."""
    module, _, name = path.partition(":")
    if not module or not name:
        raise ConfigError(f"--handler is a module and a name in it, as shop.lapsing:orders; got {path!r}")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        found: object = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot import {path!r}: {error}") from error
    if isinstance(found, type):
        found = found()
    if all(hasattr(found, method) for method in PORT):
        found = Lapsing(cast("Orders", found))
    if isinstance(found, Lapsing):
        return found.handle, found
    if not callable(found):
        raise ConfigError(f"{path!r} is neither a function that takes claims nor orders: it is {found!r}")
    return cast("Handler", found), None


@contextmanager
def _swept(lapsing: Lapsing, name: str, hook: Hook) -> Iterator[None]:
    sweep = Sweep(lapsing, timer=name, hooks=(hook,))
    thread = threading.Thread(target=sweep.run, name="lapse-sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sweep.stop()
        thread.join(DRAIN.total_seconds())


def _rearming(timer: Timer, orders: Orders) -> Callable[[], int]:
    def rearm() -> int:
        unpaid = iter(orders.deadlines())
        count = 0
        while batch := list(islice(unpaid, ARM_BATCH)):
            timer.arm(batch, only_unknown=True)
            count += len(batch)
        return count

    return rearm
