"""The simulator of Alipay that `make run` starts beside the shop, so that orders can be paid, and its key pairs."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lapse.testing.alipay import new_key_pair
from lapse.testing.alipay.gateway import APP_ID, SELLER_ID
from lapse.testing.alipay.keys import pair_of
from lapse.testing.ports import free_port
from shop.running.choices import Choices
from shop.running.program import Program
from shop.running.secrets_file import write_private

GRACE = 5.0


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """One pair as two PEM files, which only their owner can read."""

    private: Path
    public: Path


@dataclass(frozen=True, slots=True)
class Cashier:
    """One simulator: its port, and the keys of both sides."""

    port: int
    app: KeyFiles
    alipay: KeyFiles

    @property
    def url(self) -> str:
        """The simulator's address."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return the environment variables by which the shop uses this simulator."""
        return {
            "SHOP_GATEWAY": "alipay",
            "ALIPAY_APP_ID": APP_ID,
            "ALIPAY_SELLER_ID": SELLER_ID,
            "ALIPAY_PRIVATE_KEY_FILE": str(self.app.private),
            "ALIPAY_PUBLIC_KEY_FILE": str(self.alipay.public),
            "ALIPAY_GATEWAY_URL": f"{self.url}/gateway.do",
        }

    def start(self, directory: Path, environment: Mapping[str, str], lock: int) -> Program:
        """Start the simulator and return its process."""
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
    """Return a simulator with its port and keys, or None if the choices exclude it. Raises OSError."""
    if not chosen.simulator:
        return None
    folder = chosen.folder / "alipay"
    port = chosen.simulator_port or free_port()
    return Cashier(port, _load_or_make(folder, "app"), _load_or_make(folder, "alipay"))


def public_url(chosen: Choices) -> str:
    """Return the address at which buyers and Alipay reach the shop."""
    return os.environ.get("PUBLIC_URL", "").strip() or f"http://127.0.0.1:{chosen.port}"


def _load_or_make(folder: Path, name: str) -> KeyFiles:
    """Return the pair of that name, made if it is missing. Raises OSError, or ConfigError for a file that is no key."""
    files = KeyFiles(folder / f"{name}_private.pem", folder / f"{name}_public.pem")
    folder.mkdir(parents=True, exist_ok=True)
    if not files.private.exists():
        write_private(files.private, new_key_pair().private)
    # Written again each time: it follows from the private key, and a run may have been killed between the two files.
    write_private(files.public, pair_of(files.private.read_text(encoding="utf-8")).public)
    return files
