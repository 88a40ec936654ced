"""Where the commands that go on and on write what happens."""

import logging

from lapse.engine.errors import MissingLibrary
from lapse.engine.events import Hook, log_event


def log_hook(*, json: bool) -> Hook:
    """Log by structlog where it is installed; JSON needs it."""
    try:
        from lapse.observability import logs  # noqa: PLC0415 - an extra of its own
    except MissingLibrary:
        if json:
            raise
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        return log_event
    logs.configure(json=json or None)
    return logs.LogHook()
