"""Stops libraries from logging lines that are useful only for debugging them."""

import logging

CHATTY = ("apscheduler", "httpcore", "httpx", "pika")
"""Loggers of libraries that log each call. The URL in such a line may contain a signature or a password."""


def quiet_libraries() -> None:
    """In this process, log only warnings and errors of these libraries. For programs; each command calls this first."""
    for name in CHATTY:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))
