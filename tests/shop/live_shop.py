"""The shop's programs on real servers, one by one: for tests that kill some of them."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from lapse.testing.servers import PostgresServer

CHECKOUT = Path(__file__).resolve().parents[2]
WINDOW = 8
"""Seconds to pay."""
PATIENCE = 180.0


class LiveShop:
    """The shop's programs on real servers, as `make run` starts them, under the test's control.

    `timer` is a URL, or "its own": the shop's own database. `copied` is the database that the shop's begins as.
    """

    def __init__(self, postgres: PostgresServer, timer: str, *, copied: str = "template1") -> None:
        self.database = f"crash_{time.monotonic_ns()}"
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self.database}" TEMPLATE "{copied}"')
        self.url = f"postgresql://postgres@/{self.database}?host={postgres.sockets}"
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "DATABASE_URL": self.url,
            "LAPSE_TIMER": self.url if timer == "its own" else timer,
            "LAPSE_PAYMENT_WINDOW": str(WINDOW),
            "SECRET_KEY": "for tests only",
            "LOG_LEVEL": "WARNING",
        }

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `python …` in the checkout."""
        return subprocess.Popen([sys.executable, *words], cwd=CHECKOUT, env=self._environment)

    def manage(self, *words: str) -> str:
        """Run a management command and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "shop.manage", *words],
            cwd=CHECKOUT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker; the sweep is so rare that the timer does the work."""
        return self.start("-m", "shop.manage", "lapse_worker", "--sweep-every", "600", "--lease", "3")

    def ask(self, query: str) -> tuple[Any, ...]:
        """Return one row."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row
