"""A few words with a Redis server over a plain socket, so that starting one needs no client library."""

import socket
from typing import BinaryIO

Reply = str | int | list["Reply"] | None


class RedisAnswered(Exception):
    """The server answered with an error."""


def ask(port: int, *command: str | int, password: str | None = None, timeout: float = 5.0) -> Reply:
    """Send one command to 127.0.0.1 and return its reply.

    Raises OSError where nobody answers within `timeout` seconds, RedisAnswered where the answer is an error.
    """
    with socket.create_connection(("127.0.0.1", port), timeout) as connection, connection.makefile("rb") as answers:
        if password is not None:
            connection.sendall(_encode(("AUTH", password)))
            _decode(answers)
        connection.sendall(_encode(command))
        return _decode(answers)


def info(port: int, section: str, *, password: str | None = None) -> dict[str, str]:
    """Return one section of INFO by field name. Raises as `ask` does."""
    text = str(ask(port, "INFO", section, password=password))
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _encode(command: tuple[str | int, ...]) -> bytes:
    words = [str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _decode(answers: BinaryIO) -> Reply:
    line = answers.readline()
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
            return None if rest == "-1" else answers.read(int(rest) + 2)[:-2].decode(errors="replace")
        case b"*":
            return [_decode(answers) for _ in range(int(rest))]
        case _:
            raise ConnectionError(f"no Redis answers there: {line!r}")
