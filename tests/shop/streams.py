"""A real web server on the tests' database, and streams of events that are read from it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from lapse.testing.ports import free_port

PATIENCE = 60.0


class Web:
    """One uvicorn on the tests' database."""

    def __init__(self, **settings: str) -> None:
        self.port = free_port()
        self.streams: list[Stream] = []
        name = connection.settings_dict["NAME"]
        host = connection.settings_dict["HOST"]
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "DATABASE_URL": f"postgresql://postgres@/{name}?host={host}",
            "LAPSE_TIMER": "none",
            **settings,
        }
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "uvicorn",
                "shop.asgi:application",
                f"--port={self.port}",
                "--lifespan=off",
                "--log-level=warning",
                "--timeout-graceful-shutdown=5",
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.05)
            else:
                return

    def listen(self, path: str, user: User | None = None) -> "Stream":
        """Return a stream, opened as this user."""
        self.streams.append(Stream(f"http://127.0.0.1:{self.port}{path}", cookies_of(user)))
        return self.streams[-1]

    def threads(self) -> int:
        """Return the number of the server's threads."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def stop(self) -> str:
        """End the server as `make run` does, by SIGTERM, and return what it printed."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=PATIENCE)
        return str(output.decode())

    def close(self) -> None:
        """Kill the server if it still runs, and close all streams."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.leave()

    def leave(self) -> None:
        """Close all streams."""
        for stream in self.streams:
            stream.leave()
        self.streams.clear()


class Stream:
    """An open stream, read by a thread of its own."""

    def __init__(self, url: str, cookies: dict[str, str]) -> None:
        self.states: list[dict[str, Any]] = []
        self.status = 0
        self.ended = threading.Event()
        self._open = threading.Event()
        self.broken = False
        self._socket: socket.socket | None = None
        self._client = httpx.Client(timeout=PATIENCE, cookies=cookies)
        self._thread = threading.Thread(target=self._read, args=(url,), daemon=True)
        self._thread.start()
        assert self._open.wait(PATIENCE)

    def _read(self, url: str) -> None:
        try:
            with self._client.stream("GET", url) as answer:
                self.status, self.headers = answer.status_code, answer.headers
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                self._open.set()
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        self.states.append(json.loads(line.removeprefix("data: ")))
        except (httpx.HTTPError, OSError):
            self.broken = True
        finally:
            self._open.set()
            self.ended.set()

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for an event that meets the condition, and return it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for state in list(self.states):
                if condition(state):
                    return state
            time.sleep(0.02)
        raise AssertionError(self.states)

    def leave(self) -> None:
        """Close the connection, as a browser does that leaves the page."""
        if self._socket is not None and not self.ended.is_set():
            with suppress(OSError):  # the server was faster
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._client.close()


def cookies_of(user: User | None) -> dict[str, str]:
    """Return the cookies of a session of this user; none for a visitor who is not signed in."""
    if user is None:
        return {}
    client = Client()
    client.force_login(user)
    return {"sessionid": client.cookies["sessionid"].value}
