"""A shop for a trial: `python -m shop.run` on a free port, with its data in a folder that is removed afterwards."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lapse.testing.ports import free_port
from lapse.testing.postgres_server import PostgresServer

CHECKOUT = Path(__file__).resolve().parents[2]
OPENS_WITHIN = 180.0
ENDS_WITHIN = 60.0

NO_LIMITS = {
    "LAPSE_HELD_PIECES": "1000000",
    "LAPSE_HELD_OF_PRODUCT": "1000000",
    "LAPSE_HELD_SHARE": "100",
    "LAPSE_PAUSE_AFTER": "0",
}
"""A load's few buyers hold more, and let more orders lapse, than a shop at work allows."""


class TrialFailed(Exception):
    """The shop did not open. The message has the shop's output."""


@dataclass(frozen=True, slots=True)
class TrialShop:
    """A running shop: its address, its database, and the merchant's account."""

    url: str
    database: str
    merchant_email: str
    merchant_password: str
    environment: dict[str, str]

    def manage(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` on the shop's database and return the finished process, with its output and exit code."""
        command = [sys.executable, "-m", "shop.manage", *words]
        return subprocess.run(command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, check=False)  # noqa: S603  # our own program


@contextmanager
def trial_shop(**settings: str) -> Iterator[TrialShop]:
    """Open a shop with these settings of `make run` and of the shop, yield it, and close it. Raises TrialFailed."""
    with tempfile.TemporaryDirectory(prefix="lapse-shop-") as name:
        folder = Path(name)
        environment = {**os.environ, "RATE_LIMITS": "off", **NO_LIMITS, **settings}
        for taken in ("DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS", "HTTPS", "MERCHANT_PASSWORD", "MERCHANT_EMAIL"):
            environment.pop(taken, None)
        port = free_port()
        environment |= {"PORT": str(port), "LAPSE_RUN_DIR": str(folder / "run")}
        output = folder / "output"
        with output.open("wb") as written:
            process = subprocess.Popen(
                [sys.executable, "-m", "shop.run"],
                cwd=CHECKOUT,
                env=environment,
                stdout=written,
                stderr=written,
                start_new_session=True,
            )
        try:
            _wait_until_open(process, output)
            yield _opened(port, folder / "run", environment)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_open(process: subprocess.Popen[bytes], output: Path) -> None:
    give_up_at = time.monotonic() + OPENS_WITHIN
    while "The shop is open" not in output.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise TrialFailed(output.read_text(errors="replace"))
        time.sleep(0.1)


def _opened(port: int, folder: Path, environment: dict[str, str]) -> TrialShop:
    secrets: dict[str, str] = json.loads((folder / "secrets.json").read_text())
    database = PostgresServer(folder / "postgres").url
    return TrialShop(
        url=f"http://127.0.0.1:{port}",
        database=database,
        merchant_email=secrets["MERCHANT_EMAIL"],
        merchant_password=secrets["MERCHANT_PASSWORD"],
        environment=environment
        | {name: value for name, value in secrets.items() if "\n" not in value}
        | {"DATABASE_URL": database, "LAPSE_TIMER": "none", "DEBUG": "0", "DJANGO_SETTINGS_MODULE": "shop.settings"},
    )
