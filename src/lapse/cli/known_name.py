"""Refuses a name that no timer on the server has: counts of a mistyped name would be zeros, as if all were well."""

import difflib

import typer

from lapse.engine.errors import ConfigError, TimerRefused
from lapse.engine.timer import ListsNames, Timer, TimerNames
from lapse.watch.ledger_name import prefix_in

MOST_SHOWN = 20
"""How many names a message has."""


def require_known(timer: Timer) -> None:
    """Raise ConfigError if no timer has this name, and others are on the server or cannot be listed.

    Call it where nothing was found. A server without any timer, or one that cannot look the name up, causes a note on
    standard error.
    """
    names = names_beside(timer)
    if names is None:
        note = f"whether a timer is named {shown(timer.name)} is not checked: this server cannot list the names"
    elif names.known:
        return
    elif names.others or names.not_listed:
        raise ConfigError(unknown(timer.name, names))
    else:
        note = "no timer is on this server yet: a name exists once a deadline was armed or a worker has run"
    typer.echo(f"lapse: {note}", err=True)


def names_beside(timer: Timer) -> TimerNames | None:
    """Return the names on the timer's server; None if the server cannot list them or does not permit it."""
    if not isinstance(timer, ListsNames):
        return None
    try:
        return timer.names()
    except TimerRefused:
        return None


def unknown(name: str, names: TimerNames) -> str:
    """Return the sentence about a name that no timer has."""
    absent = f"there is no timer of the name {shown(name)} on this server"
    if names.not_listed:
        return (
            f"{absent}; a name exists once a deadline was armed or a worker has run; not checked: which names exist, "
            f"because {names.not_listed}"
        )
    listed = ", ".join(map(shown, names.others[:MOST_SHOWN])) + (", …" if len(names.others) > MOST_SHOWN else "")
    part = "" if names.complete else "; only a part of the server was searched"
    return f"{absent}; there are: {listed}{part}"


def is_mistyped(name: str, names: TimerNames) -> bool:
    """Return whether a name that no timer has is similar to one that exists."""
    return not names.known and bool(difflib.get_close_matches(name, names.others, n=1, cutoff=0.75))


def shown(name: str) -> str:
    """Return the name as the option by which it is given: a ledger of `lapse watch` by its prefix."""
    prefix = prefix_in(name)
    return repr(name) if prefix is None else f"--prefix {prefix!r}"
