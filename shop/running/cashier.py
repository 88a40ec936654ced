"""The simulator of Alipay that `make run` keeps beside the shop, so that its orders can be paid."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lapse.testing.alipay.app import APP_ID, SELLER_ID
from lapse.testing.ports import free_port
from shop.running import alipay_keys
from shop.running.alipay_keys import KeyFiles
from shop.running.choices import Choices
from shop.running.program import Program

GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Cashier:
    """One simulator: its port, and the keys of both sides."""

    port: int
    app: KeyFiles
    alipay: KeyFiles

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Say what the shop must be told to take money from it."""
        return {
            "SHOP_GATEWAY": "alipay",
            "ALIPAY_APP_ID": APP_ID,
            "ALIPAY_SELLER_ID": SELLER_ID,
            "ALIPAY_PRIVATE_KEY_FILE": str(self.app.private),
            "ALIPAY_PUBLIC_KEY_FILE": str(self.alipay.public),
            "ALIPAY_GATEWAY_URL": f"{self.url}/gateway.do",
        }

    def start(self, directory: Path, environment: Mapping[str, str], lock: int) -> Program:
        """Start it."""
        keys = [f"--public-key={self.app.public}", f"--private-key={self.alipay.private}"]
        return Program(
            "cashier",
            [sys.executable, "-m", "lapse.testing.alipay", f"--port={self.port}", *keys],
            directory=directory,
            environment=environment,
            keep=lock,
            grace=GRACE,
        )


def prepare(chosen: Choices) -> Cashier | None:
    """Make what a simulator needs, its port and its keys, or nothing where none is wanted. Raises OSError."""
    if not chosen.simulator:
        return None
    folder = chosen.folder / "alipay"
    port = chosen.simulator_port or free_port()
    return Cashier(port, alipay_keys.load_or_make(folder, "app"), alipay_keys.load_or_make(folder, "alipay"))


def public_url(chosen: Choices) -> str:
    """Say where buyers and Alipay reach the shop."""
    return os.environ.get("PUBLIC_URL", "").strip() or f"http://127.0.0.1:{chosen.port}"
