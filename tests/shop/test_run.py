"""`make run`, started for real: an order lapses, and nothing is left behind however the run ends.

A start takes seconds of computing. So tests that do no harm share the run `standing`, and a test with a run of its own
shows more than one thing.
"""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from lapse.testing.alipay import Buyer
from lapse.testing.ports import free_port
from lapse.testing.servers import PostgresServer, RedisServer
from tests.shop.running import PATIENCE, Run, answers, eventually, place, see_it_lapse


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the first run that ended well leaves its folder, for later runs that may begin with data."""
    return tmp_path_factory.mktemp("used") / "run"


@pytest.fixture
def start(tmp_path: Path, used: Path) -> Iterator[Callable[..., Run]]:
    """Start runs in the test's folder, and kill those that are still there after the test.

    `fresh=False` begins with a copy of a used folder, if there is one: the database and the secrets are there already.
    """
    runs: list[Run] = []

    def begin(*, fresh: bool = True, **settings: str) -> Run:
        folder = tmp_path / "run"
        if not fresh and used.exists() and not folder.exists():
            _copy(used, folder)
        runs.append(Run(folder, int(settings.pop("PORT", 0)) or free_port(), **settings))
        return runs[-1]

    yield begin
    for run in runs:
        run.process.kill()
        run.process.wait()
    for run in runs:  # only now: they may share a folder
        assert eventually(run.is_gone)


def _copy(one: Path, other: Path) -> None:
    """Copy a run's folder with its owners: PostgreSQL refuses files of another user."""
    subprocess.run(["cp", "-a", one, other], check=True)


@pytest.mark.parametrize(
    ("given", "programs"),
    [
        pytest.param({}, ["valkey-server", "lapse.testing.alipay"], id="with a timer"),
        pytest.param({"LAPSE_TIMER": "none", "SHOP_GATEWAY": "development"}, [], id="without", marks=pytest.mark.long),
    ],
)
def test_order_lapses_and_sigterm_leaves_nothing(
    start: Callable[..., Run], used: Path, given: dict[str, str], programs: list[str]
) -> None:
    """With a timer and without, an unpaid order lapses; SIGTERM ends all, with exit code 0 and the port free.

    The development gateway needs no simulator of Alipay, so none is started.
    """
    run = start(**given).opened()
    assert f"http://127.0.0.1:{run.port}/" in run.output
    for program in ["bin/postgres -D", "uvicorn", "lapse_worker", *programs]:
        assert run.child(program)
    for other in {"valkey-server", "lapse.testing.alipay"} - set(programs):
        assert not any(other in line for line in run.processes().values())
    secrets = ["secrets.json"]
    if "lapse.testing.alipay" in programs:
        secrets += ["alipay/app_private.pem", "alipay/alipay_private.pem"]
    else:
        assert not (run.folder / "alipay").exists()
    for secret in secrets:
        assert (run.folder / secret).stat().st_mode & 0o777 == 0o600
    with run.api() as api:
        see_it_lapse(api, place(api))
    run.process.terminate()
    assert run.process.wait(PATIENCE) == 0, run.output
    assert run.processes() == {}
    assert run.is_port_free()
    assert "Stopped." in run.output
    if not used.exists():
        _copy(run.folder, used)


def test_an_order_is_paid_at_the_simulator(standing: Run) -> None:
    """The cashier's address is printed, an order is paid there, and a simulator that dies is started again."""
    cashier = re.search(r"The cashier +(http://127\.0\.0\.1:\d+)/", standing.output)
    assert cashier

    def pay(api: httpx.Client) -> None:
        order = place(api)
        buyer = Buyer(api.post(f"/orders/{order['id']}/pay").json()["pay_url"])
        assert buyer.page.startswith(cashier[1])
        assert buyer.scan()
        assert (buyer.pay() or "").startswith(f"http://127.0.0.1:{standing.port}/payment/alipay/return/?")
        assert eventually(lambda: api.get(f"/orders/{order['id']}").json()["status"] == "paid")

    with standing.api() as api:
        assert eventually(lambda: answers(cashier[1]))
        pay(api)
        os.kill(standing.child("lapse.testing.alipay"), signal.SIGKILL)
        assert eventually(lambda: "The cashier ended (killed by SIGKILL)" in standing.output)
        assert eventually(lambda: answers(cashier[1]))
        pay(api)


def test_second_run_in_the_same_checkout_is_refused(standing: Run) -> None:
    """Two runs would share one database: the second names the process of the first, and ends with 2."""
    second = Run(standing.folder, free_port())
    assert second.process.wait(PATIENCE) == 2
    assert f"process {standing.process.pid}" in second.output
    assert standing.process.poll() is None


@pytest.mark.long
def test_servers_of_others_are_used_and_left_alone(start: Callable[..., Run], postgres: PostgresServer) -> None:
    """With DATABASE_URL and REDIS_URL nothing private is started, and a bare scheme means that Redis."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_others")
    with RedisServer(password="not to be shown") as redis:
        run = start(
            LAPSE_TIMER="redis+expiry://", REDIS_URL=redis.url, DATABASE_URL=postgres.url_of("of_others")
        ).opened()
        assert not (run.folder / "postgres").exists()
        assert not (run.folder / "redis").exists()
        assert f"redis+expiry://127.0.0.1:{redis.port}/0" in run.output
        with run.api() as api:
            see_it_lapse(api, place(api))
        run.process.terminate()
        assert run.process.wait(PATIENCE) == 0
        assert "not%20to%20be%20shown" not in run.output
        assert redis.running
        assert postgres.running


def test_absent_timer_is_said_at_once(start: Callable[..., Run]) -> None:
    """A timer whose server is not there ends the run with 1 and one clear line."""
    run = start(fresh=False, LAPSE_TIMER="redis://:hidden@127.0.0.1:1/0")
    assert run.process.wait(PATIENCE) == 1
    assert "no answer" in run.output
    assert "Traceback" not in run.output
    assert "hidden" not in run.output
    assert run.processes() == {}


@pytest.mark.long
def test_data_and_secrets_stay_for_the_next_run(start: Callable[..., Run]) -> None:
    """A second run has the same orders and the same sign-in, and Ctrl-C ends it as well."""
    first = start().opened()
    with first.api() as api:
        order, token = place(api), api.headers["Authorization"]
    kept = ("secrets.json", "alipay/app_private.pem", "alipay/alipay_public.pem")
    secrets = [(first.folder / name).read_text() for name in kept]
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(PATIENCE) == 0, first.output
    second = start().opened()
    with httpx.Client(base_url=f"http://127.0.0.1:{second.port}/api", headers={"Authorization": token}) as api:
        see_it_lapse(api, order)
    assert [(second.folder / name).read_text() for name in kept] == secrets
    second.process.send_signal(signal.SIGHUP)
    assert second.process.wait(PATIENCE) == 0, second.output
    assert second.processes() == {}


@pytest.mark.long
def test_killed_run_leaves_nothing_and_can_be_started_at_once(start: Callable[..., Run]) -> None:
    """SIGKILL of the run ends its children; a next run waits for them and opens on the same data and port.

    With an Alipay of the merchant's own, no simulator is started.
    """
    first = start(LAPSE_TIMER="none", ALIPAY_APP_ID="2021000000000001").opened()
    assert not any("lapse.testing.alipay" in line for line in first.processes().values())
    assert not (first.folder / "alipay").exists()
    first.process.kill()
    first.process.wait()
    second = start(PORT=str(first.port)).opened()
    second.process.kill()
    second.process.wait()
    assert eventually(second.is_gone)
    assert second.is_port_free()


@pytest.mark.long
def test_what_dies_is_started_again_but_not_the_web_server(start: Callable[..., Run]) -> None:
    """The worker, Valkey and PostgreSQL come back after a SIGKILL, and orders still lapse.

    Without its web server the run is over: it ends everything else in good order, with the server's exit code.
    """
    run = start(fresh=False).opened()
    os.kill(run.child("lapse_worker"), signal.SIGKILL)
    assert eventually(lambda: "The worker ended (killed by SIGKILL)" in run.output)
    os.kill(run.child("valkey-server"), signal.SIGKILL)
    assert eventually(lambda: "Valkey died" in run.output)
    os.kill(run.child("bin/postgres -D"), signal.SIGKILL)
    assert eventually(lambda: "PostgreSQL died" in run.output)

    def works() -> bool:
        try:
            with run.api() as api:
                see_it_lapse(api, place(api))
        except (AssertionError, httpx.HTTPError, KeyError):
            return False  # answered with an error while the database was on its way back
        return True

    assert eventually(works), run.output
    assert run.child("lapse_worker")
    os.kill(run.child("uvicorn"), signal.SIGKILL)
    assert run.process.wait(PATIENCE) == 128 + signal.SIGKILL
    assert "The web server ended (killed by SIGKILL)" in run.output
    assert run.processes() == {}


def test_taken_port_of_the_simulator(start: Callable[..., Run]) -> None:
    """The simulator's port that another program has is refused, by the name of its own setting."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        run = start(ALIPAY_SIMULATOR_PORT=str(other.getsockname()[1]))
        assert run.process.wait(PATIENCE) == 2
    assert "make run ALIPAY_SIMULATOR_PORT=" in run.output


def test_taken_port_is_an_error_before_anything_is_started(start: Callable[..., Run]) -> None:
    """A port that another program has is refused, with what to write instead."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        run = start(PORT=str(other.getsockname()[1]))
        assert run.process.wait(PATIENCE) == 2
    assert f"Port {run.port} is in use" in run.output
    assert not (run.folder / "postgres").exists()


def test_a_wrong_setting_is_named(start: Callable[..., Run]) -> None:
    """A setting that cannot be ends the run with 2, before anything is started. Each setting: `test_choices`."""
    run = start(LAPSE_PAYMENT_WINDOW="soon")
    assert run.process.wait(PATIENCE) == 2
    assert "LAPSE_PAYMENT_WINDOW must be a number of seconds" in run.output
    assert "Traceback" not in run.output
    assert not (run.folder / "postgres").exists()


@pytest.mark.long
def test_signal_during_the_set_up_stops_it(start: Callable[..., Run]) -> None:
    """SIGTERM while the database is still being made ends everything too."""
    run = start()
    assert eventually((run.folder / "postgres").exists)
    run.process.terminate()
    assert run.process.wait(PATIENCE) == 0, run.output
    assert eventually(run.is_gone)
