"""The log of the commands that run until they are stopped."""

import logging

from lapse.engine.errors import MissingLibrary
from lapse.engine.events import Hook, log_event
from lapse.observability import VisibleFormatter


def log_hook(*, json: bool) -> Hook:
    """Return a hook that logs with structlog, if installed. Raises MissingLibrary for JSON without structlog."""
    try:
        from lapse.observability import logs  # noqa: PLC0415 - an extra of its own
    except MissingLibrary:
        if json:
            raise
        handler = logging.StreamHandler()
        handler.setFormatter(VisibleFormatter())
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        return log_event
    logs.configure(json=json or None)
    return logs.LogHook()
