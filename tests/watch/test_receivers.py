"""The receivers on the page for Node and PHP, as they stand there: they accept the watcher's calls and no others."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from lapse.delivering import Body, Message, Sender, Signer
from lapse.testing.ports import free_port
from lapse.watch.options import DEFAULTS
from tests.docs.pages import CHECKOUT, steps
from tests.engine.running import wait_until

PAGE = CHECKOUT / "docs" / "how-to" / "verify-calls-on-node-and-php.md"
SECRET = "whsec_bGFwc2UtdGVzdC1zZWNyZXQtbGFwc2UtdGVzdC1zZWNyZXQ="
OLD = "whsec_b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC1vdGhlcg=="
STRANGER = "whsec_c3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXI="

NODE_MODULES = CHECKOUT / "node_modules"


def program(name: str, *, package: str = "") -> str:
    """Return the path of a program. Skip if it, or a package of Node, is missing; in CI, fail."""
    found = shutil.which(name)
    if found is None:
        _missing(f"no {name}: install {'php-cli' if name == 'php' else name}")
    if package and not (NODE_MODULES / package).exists():
        _missing(f"no {package}: with npm on the path, rm .venv/dev.stamp and make test install it")
    return str(found)


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


COMMANDS: dict[str, Callable[[int], list[str]]] = {
    "express": lambda port: [program("node", package="express"), "express.js", str(port)],
    "koa": lambda port: [program("node", package="koa-bodyparser"), "koa.js", str(port)],
    "php": lambda port: [program("php"), "-S", f"127.0.0.1:{port}", "cancel_order.php"],
}


@contextmanager
def receiver(name: str, folder: Path) -> Iterator[str]:
    """Write the page's files, start one of the receivers, and yield the address to POST to."""
    port = free_port()
    command = COMMANDS[name](port)
    for step in steps(PAGE):
        if step.order == "file":
            (folder / step.detail).write_text(step.text, encoding="utf-8")
    (folder / "webhook-secret").write_text(f"{SECRET}\n{OLD}\n")
    with subprocess.Popen(
        command, cwd=folder, env=os.environ | {"NODE_PATH": str(NODE_MODULES)}, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: _answers(port) or process.poll() is not None)
            yield f"http://127.0.0.1:{port}/payment/cancel_order/"
        finally:
            process.kill()


def _answers(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("name", list(COMMANDS))
def test_b11_a_receiver_accepts_the_watchers_calls_and_no_others(name: str, tmp_path: Path) -> None:
    """A receiver on Node could not verify the body, and had no page to copy from."""
    body = Body(DEFAULTS.body)
    with receiver(name, tmp_path) as address:
        for secret in (SECRET, OLD, f"{STRANGER} {SECRET}"):
            for key in ("1001", "订单 “1”\\\u2028"):
                with Sender(address, signer=Signer.from_text(secret)) as sender:
                    outcome = sender.send(Message("msg_1", body.of(key)))
                assert getattr(outcome, "status", outcome) == 200, outcome
        with Sender(address, signer=Signer.from_text(STRANGER)) as sender:
            assert getattr(sender.send(Message("msg_1", body.of("1001"))), "status", 0) == 401
        text, now = body.of("1001"), datetime.now(UTC)
        signer = Signer.from_text(SECRET)
        good = signer.headers("msg_1", now, text)
        assert post(address, text, good) == 200
        assert post(address, text, {}) == 401
        assert post(address, text.replace("1001", "1002"), good) == 401
        for age in (timedelta(minutes=6), timedelta(minutes=-6)):
            assert post(address, text, signer.headers("msg_1", now - age, text)) == 401
        for header in good:
            assert post(address, text, {**good, header: "x"}) == 401, header
            assert post(address, text, {other: value for other, value in good.items() if other != header}) == 401


def post(address: str, text: str, headers: dict[str, str]) -> int:
    """Send a call with these headers; return the status."""
    return httpx.post(
        address, content=text.encode(), headers={"content-type": "application/json", **headers}, timeout=60
    ).status_code
