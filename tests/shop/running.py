"""One `make run` under a test's control, and what a buyer does there over the API."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0


def eventually(condition: Callable[[], bool], within: float = PATIENCE) -> bool:
    """Wait until the condition holds, or until `within` seconds are over. Return whether it holds."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Run:
    """One `python -m shop.run` with a folder and a port of its own."""

    def __init__(self, folder: Path, port: int, **settings: str) -> None:
        self.folder = folder
        self.port = port
        self._file = folder.with_suffix(f".{time.monotonic_ns()}.out")
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {
            "LAPSE_RUN_DIR": str(folder),
            "PORT": str(port),
            "LAPSE_PAYMENT_WINDOW": "4",
            "LEAST_TIME_TO_PAY": "1",
            # Limits on what a buyer holds are in the way of loads. Their own tests set them.
            **dict.fromkeys(("LAPSE_HELD_PIECES", "LAPSE_HELD_OF_PRODUCT"), "1000000"),
            "LAPSE_HELD_SHARE": "100",
            "LAPSE_PAUSE_AFTER": "0",
            **settings,
        }
        with self._file.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shop.run"],
                cwd=CHECKOUT,
                env=inherited | own,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Everything that the run has printed so far."""
        return self._file.read_text(errors="replace")

    def opened(self) -> "Run":
        """Wait until the run prints that the shop is open, and return the run."""
        assert eventually(lambda: "The shop is open" in self.output or self.process.poll() is not None), self.output
        assert self.process.poll() is None, self.output
        return self

    def api(self) -> httpx.Client:
        """Sign a new buyer up, and return a client that sends this buyer's token."""
        base = f"http://127.0.0.1:{self.port}/api"
        buyer = {"email": f"buyer{time.monotonic_ns()}@shop.example", "password": "a long pass phrase 7"}
        answer = httpx.post(f"{base}/buyers", json=buyer, timeout=30)
        assert answer.status_code == 201, answer.text
        return httpx.Client(base_url=base, timeout=30, headers={"Authorization": f"Bearer {answer.json()['token']}"})

    def processes(self) -> dict[int, str]:
        """Return the command of each process of this run, by the process's number.

        A process belongs to the run if the run's folder stands in its environment. A database server overwrites its
        environment with its title; it belongs to the run if it works in the run's folder.
        """
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                marked = f"LAPSE_RUN_DIR={self.folder}".encode() in (entry / "environ").read_bytes().split(b"\0")
                if marked or (entry / "cwd").readlink().is_relative_to(self.folder):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # the process ended meanwhile, or belongs to another user
        return found

    def is_gone(self) -> bool:
        """Return whether no process of the run is left."""
        return not self.processes()

    def child(self, words: str) -> int:
        """Return the number of the program whose command has these words; the supervisor has them too."""
        wanted = [
            number for number, line in self.processes().items() if words in line and "supervise_process" not in line
        ]
        assert wanted, self.processes()
        return wanted[0]

    def is_port_free(self) -> bool:
        """Return whether another program can listen on the web server's port."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return probe.connect_ex(("127.0.0.1", self.port)) != 0


def answers(url: str) -> bool:
    """Return whether a GET of this URL succeeds."""
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.HTTPError:
        return False


def place(api: httpx.Client) -> dict[str, Any]:
    """Order one piece of the first product, and return the order."""
    listed = api.get("/products").json()
    product = (listed["items"] if isinstance(listed, dict) else listed)[0]
    line = {"sku": product["sku"], "quantity": 1, "unit_price": product["price"]}
    answer = api.post("/orders", json={"lines": [line]})
    assert answer.status_code == 201, answer.text
    order: dict[str, Any] = answer.json()
    return order


def see_it_lapse(api: httpx.Client, order: dict[str, Any]) -> None:
    """Watch the order until it is cancelled, never before its deadline."""
    pay_by = datetime.fromisoformat(order["pay_by"])

    def is_cancelled() -> bool:
        status = api.get(f"/orders/{order['id']}").json()["status"]
        if status == "cancelled":
            assert datetime.now(UTC) >= pay_by  # the database runs on this machine, so by the same clock
        return bool(status == "cancelled")

    assert eventually(is_cancelled)
