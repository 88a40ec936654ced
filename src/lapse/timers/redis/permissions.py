"""Whether a Redis user may do what a timer needs done."""

from collections.abc import Iterable

import redis
from redis import exceptions

from lapse.timers.redis.server import leave, translated

Command = tuple[str | bytes, ...]
"""A command with arguments of the right number and kind. It is asked about and never run."""

_FORBIDDEN = ("NOPERM", "no permissions", "unknown command")


def of_the_queue(key: str, channel: str) -> list[Command]:
    """Everything that the delay queue does, in its scripts and beside them, with a key and the channel of its own."""
    return [
        ("EVALSHA", "0" * 40, "0"),
        ("EVAL", "return 0", "0"),
        ("SUBSCRIBE", channel),
        ("PUBLISH", channel, "1"),
        ("INFO", "server"),
        ("PING",),
        ("TIME",),
        ("GET", key),
        ("SET", key, "1", "NX"),
        ("EXISTS", key),
        ("HDEL", key, "a"),
        ("HEXISTS", key, "a"),
        ("HGET", key, "a"),
        ("HMGET", key, "a"),
        ("HSET", key, "a", "1"),
        ("ZADD", key, "1", "a"),
        ("ZCARD", key),
        ("ZCOUNT", key, "0", "1"),
        ("ZMSCORE", key, "a"),
        ("ZRANGE", key, "0", "0"),
        ("ZRANGEBYSCORE", key, "0", "1"),
        ("ZREM", key, "a"),
        ("ZREMRANGEBYRANK", key, "0", "0"),
        ("ZSCORE", key, "a"),
    ]


def denied(server: redis.Redis, commands: Iterable[Command]) -> list[str]:
    """Name those of the commands that this user may not give, with these keys and channels. None of them is run.

    They are queued in a transaction that is then discarded: what is not permitted is refused as it is queued, on every
    version, and nobody needs the right to ask about rights. That it can be begun and discarded is tried before, for
    else they would be run, or the connection be left inside of it.
    """
    if any(map(_is_forbidden, _queued(server, []))):
        leave(server)
        return ["MULTI and DISCARD (so that nothing else could be asked about)"]
    asked = list(commands)
    answers = _queued(server, asked)[1:-1]
    return [str(command[0]) for command, answer in zip(asked, answers, strict=True) if _is_forbidden(answer)]


def _queued(server: redis.Redis, commands: Iterable[Command]) -> list[object]:
    """Give the answers to MULTI, to each command, and to DISCARD."""
    with translated():
        pipeline = server.pipeline(transaction=False)
        # Names in bytes: the client makes nothing of the answer, which is only that the command is queued.
        for name, *arguments in [("MULTI",), *commands, ("DISCARD",)]:
            pipeline.execute_command(str(name).encode(), *arguments)  # type: ignore[no-untyped-call] # no types here
        return list(pipeline.execute(raise_on_error=False))


def _is_forbidden(answer: object) -> bool:
    return isinstance(answer, exceptions.NoPermissionError) or (
        isinstance(answer, exceptions.ResponseError) and any(word in str(answer) for word in _FORBIDDEN)
    )
