"""Puts together what `lapse watch` runs: watched keys, many deliveries at once, a webhook."""

import logging
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from lapse.delivering.body import Body
from lapse.delivering.signing import HOW, Signer
from lapse.delivering.webhook import Webhook
from lapse.engine.errors import ConfigError, MissingLibrary, TimerUnavailable
from lapse.engine.events import Event, Hook, Kind
from lapse.engine.worker import ConcurrentWorker

try:
    from lapse.watch.watched_keys import WatchedKeys, open_watch
except ModuleNotFoundError as missing:
    if (missing.name or "").startswith("lapse"):
        raise
    raise MissingLibrary("lapse watch", "watch") from missing

__all__ = ["Watch", "open_watch"]

SECRET = "LAPSE_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The settings of `lapse watch`. `timeout` is in seconds, `attempts` the tries before an order is buried."""

    url: str
    prefix: str
    post: str
    body: str
    secret_file: Path | None
    unsigned: bool
    insecure_http: bool
    timeout: float
    concurrency: int
    attempts: int
    drain: timedelta

    def run(self, hook: Hook) -> None:
        """Watch and deliver until SIGTERM or Ctrl-C.

        Raises ConfigError for settings that cannot be, before anything is done; TimerRefused where the server says no.
        """
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for every call; what matters has ours
        body, signer = Body(self.body), self._signer()
        with (
            open_watch(self.url, prefix=self.prefix, hooks=(hook,)) as timer,
            Webhook(
                self.post,
                name=timer.name,
                signer=signer,
                body=body,
                timeout=self.timeout,
                insecure_http=self.insecure_http,
            ) as webhook,
        ):
            hook(
                Event(
                    kind=Kind.WATCHING,
                    timer=timer.name,
                    reason=f"keys {self.prefix}* go to {_without_query(webhook.url)}",
                )
            )
            _say_what_is_unfit(timer, hook)
            ConcurrentWorker(
                timer,
                webhook,
                concurrency=self.concurrency,
                max_attempts=self.attempts,
                drain=self.drain,
                hooks=(hook,),
            ).run()

    def _signer(self) -> Signer | None:
        """Take the secret from where it is, which is never the command line."""
        text = os.environ.get(SECRET, "")
        if self.unsigned:
            if text or self.secret_file:
                raise ConfigError(
                    f"--unsigned, and yet there is a secret, in {SECRET} or a file: leave one of them out"
                )
            return None
        if self.secret_file is not None:
            return Signer.from_file(self.secret_file)
        if not text:
            raise ConfigError(
                f"calls are signed, so that the shop can tell them from a stranger's: set {SECRET}, name a "
                f"--secret-file, or say --unsigned; {HOW}"
            )
        return Signer.from_text(text)


def _without_query(url: str) -> str:
    """Give the address for a log, which is no place for what may be a secret in its query."""
    return urlsplit(url)._replace(query="").geturl()


def _say_what_is_unfit(timer: WatchedKeys, hook: Hook) -> None:
    """Warn of settings that lose deadlines; a server that is away is waited for later."""
    try:
        for finding in timer.check():
            if not finding.fit:
                hook(Event(kind=Kind.UNFIT, timer=timer.name, reason=finding.text))
    except TimerUnavailable:
        return
