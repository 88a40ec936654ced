"""Runs `lapse watch`: a timer armed by the shop's keys, a concurrent worker, and a webhook."""

import os
from urllib.parse import urlsplit

from lapse.engine.errors import ConfigError, MissingLibrary, TimerUnavailable
from lapse.engine.events import Event, Hook, Kind
from lapse.engine.worker import ConcurrentWorker
from lapse.watch.options import WatchOptions

try:
    from lapse.delivering import Accept, Body, Sender, Signer, Webhook
    from lapse.delivering.signing import HOW
    from lapse.watch.watched_keys import WatchedKeys, open_watch
except ModuleNotFoundError as missing:
    if (missing.name or "").startswith("lapse"):
        raise
    raise MissingLibrary("lapse watch", "watch") from missing

__all__ = ["open_watch", "run_watch"]

SECRET = "LAPSE_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


def run_watch(options: WatchOptions, hook: Hook) -> None:
    """Watch and deliver until SIGTERM or Ctrl-C.

    Raises ConfigError for wrong options before it does anything, TimerRefused if the server refuses.
    """
    body, signer = Body(options.body), _signer(options)
    accept = Accept(options.accept) if options.accept else None
    with (
        open_watch(options.url, prefix=options.prefix, ids=options.ids, hooks=(hook,)) as timer,
        Sender(options.post, signer=signer, timeout=options.timeout, insecure_http=options.insecure_http) as sender,
    ):
        address = _without_query(sender.url)
        hook(Event(kind=Kind.WATCHING, timer=timer.name, reason=f"keys {options.prefix}* go to {address}"))
        _report_unfit(timer, hook)
        ConcurrentWorker(
            timer,
            Webhook(sender, name=timer.name, body=body, accept=accept),
            concurrency=options.concurrency,
            max_attempts=options.attempts,
            drain=options.drain,
            hooks=(hook,),
        ).run()


def _signer(options: WatchOptions) -> Signer | None:
    """Return the signer, or None if calls are not signed. The secret is never on the command line."""
    text = os.environ.get(SECRET, "")
    if options.unsigned:
        if text or options.secret_file:
            raise ConfigError(
                f"--unsigned was given, but there is a secret in {SECRET} or a file: remove one of the two"
            )
        return None
    if options.secret_file is not None:
        return Signer.from_file(options.secret_file)
    if not text:
        raise ConfigError(
            f"calls are signed, so that the shop can reject forged calls: set {SECRET}, name a "
            f"--secret-file, or use --unsigned; {HOW}"
        )
    return Signer.from_text(text)


def _without_query(url: str) -> str:
    """Return the address for a log, without its query, which may contain a secret."""
    return urlsplit(url)._replace(query="").geturl()


def _report_unfit(timer: WatchedKeys, hook: Hook) -> None:
    """Report settings that lose deadlines. If the server does not answer, the worker reports that."""
    try:
        for finding in timer.check_server():
            if not finding.fit:
                hook(Event(kind=Kind.UNFIT, timer=timer.name, reason=finding.text))
    except TimerUnavailable:
        return
