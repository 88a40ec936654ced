"""`lapse check`: whether a timer's server is there, and fit."""

from dataclasses import asdict
from typing import Any

import typer

from lapse.cli.asking import Json, Name, Url, span, write_json
from lapse.cli.stats import as_document
from lapse.config import open_timer
from lapse.engine.timer import Finding, Timer


def check(url: Url, *, name: Name = "orders", json: Json = False) -> None:
    """Connect, and say whether the server is fit for this timer. Exit code 1 where it is not, or not there.

    [bold]Examples[/bold]

    lapse check redis://localhost:6379/0

    lapse check redis+expiry://localhost:6379/0 --json
    """
    with open_timer(url, name=name) as timer:
        found = timer.stats()  # the first word with the server: an absent or unfit one raises
        findings = [Finding(fit=True, text=_promise(timer)), *timer.check()]
        fit = all(finding.fit for finding in findings)
        if json:
            document = as_document(timer, found) | {
                "fit": fit,
                "traits": asdict(timer.traits),
                "findings": [asdict(finding) for finding in findings],
            }
            write_json(document)
        else:
            for finding in findings:
                typer.echo(f"{'ok ' if finding.fit else 'BAD'}  {finding.text}")
    if not fit:
        raise typer.Exit(1)


def _promise(timer: Timer) -> str:
    traits = timer.traits
    can: dict[str, Any] = {
        "durable": traits.durable,
        "shared by processes": traits.shared,
        "takes deadlines back": traits.can_disarm,
        "armed in the order's transaction": traits.transactional,
        "oldest first over all": traits.ordered,
    }
    yes = ", ".join(what for what, does in can.items() if does)
    no = ", ".join(f"not {what}" for what, does in can.items() if not does)
    said = ", ".join(part for part in (yes, no) if part)
    return f"{traits.mechanism} answers; {said}; punctual to {span(traits.precision)}"
