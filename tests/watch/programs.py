"""The programs that these tests start: `lapse watch`, and shops that know nothing of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from lapse.testing.ports import free_port
from tests.engine.running import wait_until

HERE = Path(__file__).parent
LAPSE = Path(sys.executable).with_name("lapse")
SECRET = "whsec_bGFwc2UtdGVzdC1zZWNyZXQtbGFwc2UtdGVzdC1zZWNyZXQ="


def environment(**variables: str) -> dict[str, str]:
    """Return the environment without any setting of Lapse but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAPSE_")}
    return {**kept, "COLUMNS": "120", **variables}


class Watcher:
    """`lapse watch` in a process of its own; it writes JSON to a file."""

    def __init__(self, folder: Path, *words: str, secret: str = SECRET, **variables: str) -> None:
        self.log = folder / f"watch-{len(list(folder.iterdir()))}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [LAPSE, "watch", *words, "--json"],
                stderr=log,
                env=environment(**({"LAPSE_WEBHOOK_SECRET": secret} if secret else {}), **variables),
            )

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has said so far."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """What it has said of one kind of event."""
        return [one for one in self.events if one["event"] == event]

    def has_learnt(self) -> bool:
        """Whether it has looked at all keys."""
        return any("reason" not in one for one in self.said("keys learnt"))

    def begin(self) -> "Watcher":
        """Wait until it has looked at all keys, which may be many, on a machine that has other things to do."""
        wait_until(lambda: self.has_learnt() or self.process.poll() is not None, "it goes on looking", patience=300)
        assert self.process.poll() is None, self.log.read_text()
        return self

    def end(self) -> None:
        """Let it end as a service manager does; it ends well."""
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log.read_text()

    def kill(self) -> None:
        """Let it end as a crash does."""
        self.process.kill()
        self.process.wait(60)


@contextmanager
def watching(folder: Path, *words: str, **settings: Any) -> Iterator[Watcher]:
    """Watch beside the test, which goes on once all keys were looked at."""
    watcher = Watcher(folder, *words, **settings)
    try:
        yield watcher.begin()
        watcher.end()
    finally:
        watcher.kill()


class Shop:
    """A shop in a program of its own, called over HTTP."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.url, timeout=60)

    def post(self, path: str, **content: Any) -> httpx.Response:
        """POST something and return the answer."""
        return self._client.post(path, **content)

    def get(self, path: str) -> Any:
        """Return the JSON at a path."""
        return self._client.get(path).json()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def answers(self) -> bool:
        """Whether it listens by now."""
        try:
            self._client.get("/")
        except httpx.TransportError:
            return False
        return True


@contextmanager
def shop(folder: Path, command: Sequence[str | Path], **variables: str) -> Iterator[Shop]:
    """Start a shop's program, in whose command PORT stands for its port."""
    port = free_port()
    words: Mapping[str | Path, str] = {"PORT": str(port)}
    with (folder / "shop.log").open("wb") as log:
        process = subprocess.Popen(
            [words.get(word, str(word)) for word in command], stderr=log, stdout=log, env=environment(**variables)
        )
    shop = Shop(port)
    try:
        wait_until(lambda: shop.answers() or process.poll() is not None)
        assert process.poll() is None, (folder / "shop.log").read_text()
        yield shop
    finally:
        shop.close()
        process.kill()
        process.wait(60)
