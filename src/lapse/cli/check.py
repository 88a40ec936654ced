"""`lapse check`: checks whether a timer's server answers and fits the timer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer

from lapse.cli.arguments import Json, Name, OfPrefix, Url, open_timer, span, timer_name, write_json
from lapse.cli.known_name import is_mistyped, names_beside, shown, unknown
from lapse.cli.stats import as_document
from lapse.engine.errors import TimerRefused, TimerUnavailable
from lapse.engine.timer import Finding, Stats, Timer
from lapse.engine.visible import one_line


def check(
    url: Url,
    *,
    name: Name = "orders",
    prefix: OfPrefix = "",
    ids: Annotated[
        str, typer.Option("--id", metavar="REGEX", help="With --prefix: the pattern that `lapse watch --id` has.")
    ] = "",
    fix: Annotated[
        bool, typer.Option("--fix", help="Correct the server's settings where permitted, and report the changes.")
    ] = False,
    json: Json = False,
) -> None:
    """Connect, and report whether the server fits this timer. Exit code 1 if it does not fit or does not answer.

    For Redis, the report has the version, this user's permissions, notify-keyspace-events with the line to add, and the
    keys evicted when memory is short. It also says what a crash would lose, and how much the clock differs from this
    host's. For RabbitMQ, it has the policies that make the broker lose deadlines, and queues that another version of
    Lapse made. A replica, and a name that is nearly that of another timer, are unfit. With --prefix, it says whether
    `lapse watch` can watch such keys, which keys there are, and similar ones if there are none. Without --fix it
    changes nothing, except that a timer in SQL creates its table, and a timer on RabbitMQ its queues. A line that
    begins with -- is about what could not be looked at.

    [bold]Examples[/bold]

    lapse check redis://localhost:6379/0

    lapse check redis+expiry://localhost:6379/0 --json

    lapse check redis://localhost:6379/0 --prefix nick_ --fix
    """
    if ids and not prefix:
        raise typer.BadParameter("--id is the pattern of `lapse watch`: give --prefix too")
    with open_timer(url, name=timer_name(name, prefix)) as timer, _checker(timer, url, prefix, ids) as check_server:
        # Asked first, because a check of RabbitMQ declares the queues. A prefix that nothing has watched is no mistake.
        named = [] if prefix else _name_of(timer)
        if any(not finding.fit for finding in named):
            _report(named, timer, None, fit=False, json=json)
            raise typer.Exit(1)
        findings = check_server()
        if fix and (done := _fix(findings)):
            findings = [*done, *check_server()]
        findings = [*findings, *named]
        counts: Stats | None = None
        if all(finding.fit for finding in findings):
            try:
                counts = timer.stats()
            except TimerRefused as error:
                findings = [*findings, Finding(fit=False, text=str(error))]
        fit = all(finding.fit for finding in findings)
        _report([Finding(fit=True, text=_promise(timer)), *findings], timer, counts, fit=fit, json=json)
    if not fit:
        raise typer.Exit(1)


def _name_of(timer: Timer) -> list[Finding]:
    """Return a finding if no timer has this name: BAD if one has a similar name, because this one is mistyped then."""
    try:
        names = names_beside(timer)
    except TimerUnavailable:  # a finding about the server says why
        names = None
    if names is None:
        return [Finding(fit=True, checked=False, text=f"whether a timer is named {shown(timer.name)}")]
    if names.known or not (names.others or names.not_listed):
        return []
    if is_mistyped(timer.name, names):
        return [Finding(fit=False, text=f"{unknown(timer.name, names)}. The rest is not checked under a mistyped name")]
    return [Finding(fit=True, text=unknown(timer.name, names))]


@contextmanager
def _checker(timer: Timer, url: str, prefix: str, ids: str) -> Iterator[Callable[[], list[Finding]]]:
    """Yield the check of the server: the timer's check, or with a prefix the check of `lapse watch`."""
    if not prefix:
        yield timer.check
        return
    from lapse.watch.run import open_watch  # noqa: PLC0415 - what it needs is an extra

    with open_watch(url, prefix=prefix, ids=ids) as watcher:
        yield watcher.check


def _fix(findings: Sequence[Finding]) -> list[Finding]:
    """Fix the settings that can be fixed. Return the findings, with what was done or what this user may not do."""
    done = []
    for finding in findings:
        if finding.fix is not None and not finding.fit:
            try:
                done.append(Finding(fit=True, text=finding.fix()))
            except TimerRefused as error:
                done.append(Finding(fit=False, text=str(error)))
    return done


def _report(findings: Sequence[Finding], timer: Timer, counts: Stats | None, *, fit: bool, json: bool) -> None:
    if not json:
        for finding in findings:
            label = "BAD  " if not finding.fit else "ok   " if finding.checked else "--   not checked: "
            typer.echo(label + one_line(finding.text))
        return
    about = {"name": timer.name, "mechanism": timer.traits.mechanism}
    write_json(
        (as_document(timer, counts) if counts else about)
        | {
            "fit": fit,
            "traits": asdict(timer.traits),
            "findings": [
                {"fit": finding.fit, "checked": finding.checked, "text": finding.text} for finding in findings
            ],
        }
    )


def _promise(timer: Timer) -> str:
    traits = timer.traits
    can: dict[str, Any] = {
        "durable": traits.durable,
        "shared by processes": traits.shared,
        "can disarm": traits.can_disarm,
        "armed in the order's transaction": traits.transactional,
        "exact in its counts": traits.exact_stats,
    }
    yes = ", ".join(promise for promise, kept in can.items() if kept)
    no = ", ".join(f"not {promise}" for promise, kept in can.items() if not kept)
    promises = ", ".join(part for part in (yes, no) if part)
    return f"{traits.mechanism} answers; {promises}; punctual to {span(traits.precision)}"
