"""The servers and the browser that tests need: a missing one is listed on a developer's machine, and fails in CI."""

import os
import shutil
from pathlib import Path

import pytest

from lapse.engine.errors import MissingLibrary
from lapse.testing.servers import (
    PostgresServer,
    RabbitMissing,
    mariadb_binaries,
    rabbit_scripts,
)
from tests.each_redis import missing_redis
from tests.model.checking import missing as missing_programs


def test_every_service_is_here(tmp_path: Path) -> None:
    """Every server and a browser are found, so that no test is skipped unnoticed."""
    missing = missing_redis()
    try:
        PostgresServer(tmp_path)
    except MissingLibrary as error:
        missing.append(f"PostgreSQL ({error})")
    if not mariadb_binaries():
        missing.append("MariaDB (on Debian or Ubuntu: apt-get install mariadb-server)")
    try:
        rabbit_scripts()
    except RabbitMissing as error:
        missing.append(f"RabbitMQ ({error})")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        missing.append("Chromium")
    missing += [f"{program} (for the model in tests/model)" for program in missing_programs()]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"tests that need {', '.join(missing)} are skipped here")
    assert not missing
