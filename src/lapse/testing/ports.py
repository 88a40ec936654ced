"""TCP ports of this machine for servers that tests and demos start."""

import random
import socket
from contextlib import suppress

CLUSTER_BUS = 10_000
"""What a Redis of a cluster adds to its port for the port on which the nodes talk to each other."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which no process listens; the port of its cluster bus is free too.

    Until this process ends, no other call returns the same port, here or in another process: seconds pass between
    the choice of a port and the moment when a server listens on it.
    """
    while True:
        port = random.randint(20_000, 29_999)  # noqa: S311 - any will do; below what outgoing connections use
        with suppress(OSError), socket.socket() as server, socket.socket() as bus:
            server.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + CLUSTER_BUS))
            _reserve(port)
            return port


def _reserve(port: int) -> None:
    """Take the UDP port of the same number, which none of our servers uses, for as long as this process lives."""
    with socket.socket(type=socket.SOCK_DGRAM) as mark:
        mark.bind(("127.0.0.1", port))
        mark.detach()
