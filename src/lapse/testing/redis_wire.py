"""Single commands to a Redis server over a plain socket, so that starting a server needs no client library."""

import socket
from typing import BinaryIO

Reply = str | int | list["Reply"] | None


class RedisAnswered(Exception):
    """The server answered with an error."""


def ask(port: int, *command: str | int, password: str | None = None, timeout: float = 5.0) -> Reply:
    """Send one command to 127.0.0.1 and return the reply.

    Raises OSError without an answer within `timeout` seconds, RedisAnswered where the answer is an error.
    """
    with socket.create_connection(("127.0.0.1", port), timeout) as connection, connection.makefile("rb") as replies:
        if password is not None:
            connection.sendall(_encode(("AUTH", password)))
            _decode(replies)
        connection.sendall(_encode(command))
        return _decode(replies)


def info(port: int, section: str, *, password: str | None = None) -> dict[str, str]:
    """Return one section of INFO by field name. Raises as `ask` does."""
    text = str(ask(port, "INFO", section, password=password))
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _encode(command: tuple[str | int, ...]) -> bytes:
    parts = [str(part).encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _decode(replies: BinaryIO) -> Reply:
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server closed the connection")
    sign, rest = line[:1], line[1:-2].decode()
    match sign:
        case b"+":
            return rest
        case b"-":
            raise RedisAnswered(rest)
        case b":":
            return int(rest)
        case b"$":
            return None if rest == "-1" else replies.read(int(rest) + 2)[:-2].decode(errors="replace")
        case b"*":
            return [_decode(replies) for _ in range(int(rest))]
        case _:
            raise ConnectionError(f"not a reply of Redis: {line!r}")
