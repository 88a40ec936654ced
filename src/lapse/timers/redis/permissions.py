"""Whether a Redis user may run the commands that a timer needs."""

from collections.abc import Iterable

import redis
from redis import exceptions

from lapse.timers.redis.client import close_idle
from lapse.timers.redis.errors import translated

Command = tuple[str | bytes, ...]
"""A command with arguments of the right number and kind. It is checked and never run."""

_FORBIDDEN = ("NOPERM", "no permissions", "unknown command")


def queue_commands(key: str, channel: str) -> list[Command]:
    """Return every command of the delay queue, in its scripts and outside, with a key and the channel of a timer."""
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
    """Return the names of the commands that this user may not run, with these keys and channels. None is run.

    The commands are queued in a transaction that is then discarded. Every Redis version refuses a forbidden command
    when it is queued, so the user needs no permission to read permissions. MULTI and DISCARD are tried first. Without
    them the commands would run, or the connection would stay inside the transaction.
    """
    if any(map(_is_forbidden, _queued(server, []))):
        close_idle(server)
        return ["MULTI and DISCARD (so that no other command could be checked)"]
    checked = list(commands)
    answers = _queued(server, checked)[1:-1]
    return [str(command[0]) for command, answer in zip(checked, answers, strict=True) if _is_forbidden(answer)]


def _queued(server: redis.Redis, commands: Iterable[Command]) -> list[object]:
    """Return the answers to MULTI, to each command, and to DISCARD."""
    with translated():
        pipeline = server.pipeline(transaction=False)
        # Names in bytes: the client does not parse the answer, which only says that the command is queued.
        for name, *arguments in [("MULTI",), *commands, ("DISCARD",)]:
            pipeline.execute_command(str(name).encode(), *arguments)  # type: ignore[no-untyped-call] # no types here
        return list(pipeline.execute(raise_on_error=False))


def _is_forbidden(answer: object) -> bool:
    return isinstance(answer, exceptions.NoPermissionError) or (
        isinstance(answer, exceptions.ResponseError) and any(word in str(answer) for word in _FORBIDDEN)
    )
