"""Lua scripts: each runs as one command. Its source is a file in the folder `lua/` of the package that uses it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis import exceptions

from lapse.timers.redis.client import Client
from lapse.timers.redis.errors import translated

Arguments = Iterable[bytes | str | int]

RunScript = Callable[[str, str, Arguments], Any]
"""Runs a script, given its name, a shard and the arguments, and returns its output."""

PRELUDE_PACKAGE = "lapse.timers.redis"
"""The package whose `lua/prelude.lua` is put before every script, in this package and in others."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua source, the digest by which a server knows the source, and the names of its keys from its header."""

    source: str
    digest: str
    keys: tuple[str, ...]

    def run(self, client: Client, prefix: str, args: Arguments) -> Any:  # noqa: ANN401 - each script's header states the shape of its output
        """Run the script and return its output. `prefix` is put before the name of each key.

        If the server does not know the digest, send it the source.
        """
        keys = [prefix + key for key in self.keys]
        with translated():
            try:
                return client.evalsha(self.digest, len(keys), *keys, *args)
            except exceptions.NoScriptError:
                return client.eval(self.source, len(keys), *keys, *args)


@cache
def script(name: str, package: str = PRELUDE_PACKAGE) -> Script:
    """Return the script in `lua/<name>.lua` of a package, such as "lapse.watch", with the prelude before it."""
    prelude = _read(PRELUDE_PACKAGE, "prelude")
    own = _read(package, name)
    source = f"{prelude}\n{own}"
    header = re.search(r"^-- KEYS +(.+)$", own, re.MULTILINE)
    if header is None:
        raise AssertionError(f"lua/{name}.lua of {package} must have a line '-- KEYS …'")
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest(), tuple(header[1].split()))


def _read(package: str, name: str) -> str:
    return (files(package) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
