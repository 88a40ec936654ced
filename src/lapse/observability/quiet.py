"""Keeps libraries from logging what only they and debuggers need."""

import logging

CHATTY = ("apscheduler", "httpcore", "httpx", "pika")
"""Loggers of libraries that log each call. A URL in such a line may hold a signature, an order or a password."""


def quiet_libraries() -> None:
    """Log warnings and errors of these libraries only, in this process. For programs; each command calls this first."""
    for name in CHATTY:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))
