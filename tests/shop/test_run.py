"""`make run`, started for real: an order lapses, and nothing is left behind however it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapse.testing.alipay import Buyer
from lapse.testing.ports import free_port
from lapse.testing.servers import PostgresServer, RedisServer

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0


def eventually(condition: Callable[[], bool], within: float = PATIENCE) -> bool:
    """Wait until the condition holds, or the time is over."""
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
        self.output = folder.with_suffix(f".{time.monotonic_ns()}.out")
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {"LAPSE_RUN_DIR": str(folder), "PORT": str(port), "LAPSE_PAYMENT_WINDOW": "3", **settings}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shop.run"],
                cwd=CHECKOUT,
                env=inherited | own,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """Everything that was printed so far."""
        return self.output.read_text(errors="replace")

    def opened(self) -> "Run":
        """Wait until it says that the shop is open."""
        assert eventually(lambda: "The shop is open" in self.said or self.process.poll() is not None), self.said
        assert self.process.poll() is None, self.said
        return self

    def api(self) -> httpx.Client:
        """Sign a new buyer up, and return a client that speaks as that buyer."""
        base = f"http://127.0.0.1:{self.port}/api"
        buyer = {"email": f"buyer{time.monotonic_ns()}@shop.example", "password": "a long pass phrase 7"}
        answer = httpx.post(f"{base}/buyers", json=buyer, timeout=30)
        assert answer.status_code == 201, answer.text
        return httpx.Client(base_url=base, timeout=30, headers={"Authorization": f"Bearer {answer.json()['token']}"})

    def processes(self) -> dict[int, str]:
        """Every process of this run, by number, with its command.

        They are known by the run's mark in their environment; the servers, which write their titles over theirs, by
        the folder in which they work.
        """
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                marked = f"LAPSE_RUN_DIR={self.folder}".encode() in (entry / "environ").read_bytes().split(b"\0")
                if marked or (entry / "cwd").readlink().is_relative_to(self.folder):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it ended meanwhile, or is none of ours
        return found

    def is_gone(self) -> bool:
        """Whether no process is left."""
        return not self.processes()

    def child(self, words: str) -> int:
        """Return the number of the program whose command has these words; the supervisor has them too."""
        wanted = [
            number for number, line in self.processes().items() if words in line and "supervise_process" not in line
        ]
        assert wanted, self.processes()
        return wanted[0]

    def is_port_free(self) -> bool:
        """Whether the web server's port can be taken."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return probe.connect_ex(("127.0.0.1", self.port)) != 0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start runs; whatever is still there afterwards is killed."""
    runs: list[Run] = []

    def begin(**settings: str) -> Run:
        runs.append(Run(tmp_path / "run", int(settings.pop("PORT", 0)) or free_port(), **settings))
        return runs[-1]

    yield begin
    for run in runs:
        run.process.kill()
        run.process.wait()
    for run in runs:  # only now: they may share a folder
        assert eventually(run.is_gone)


def answers(url: str) -> bool:
    """Whether somebody answers there."""
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.HTTPError:
        return False


def place(api: httpx.Client) -> dict[str, Any]:
    """Order one piece of the first product."""
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


@pytest.mark.parametrize("timer", ["", "none"])
def test_order_lapses_and_sigterm_leaves_nothing(start: Callable[..., Run], timer: str) -> None:
    """With a timer and without, an unpaid order lapses; SIGTERM ends all, with exit code 0 and the port free."""
    run = start(LAPSE_TIMER=timer).opened()
    assert f"http://127.0.0.1:{run.port}/" in run.said
    for program in [
        "bin/postgres -D",
        "uvicorn",
        "lapse_worker",
        *([] if timer else ["redis-server"]),
    ]:
        assert run.child(program)
    assert run.child("lapse.testing.alipay")
    for secret in ("secrets.json", "alipay/app_private.pem", "alipay/alipay_private.pem"):
        assert (run.folder / secret).stat().st_mode & 0o777 == 0o600
    with run.api() as api:
        see_it_lapse(api, place(api))
    run.process.terminate()
    assert run.process.wait(PATIENCE) == 0, run.said
    assert run.processes() == {}
    assert run.is_port_free()
    assert "Stopped." in run.said


def test_an_order_is_paid_at_the_simulator(start: Callable[..., Run]) -> None:
    """The cashier's address is said, an order is paid there, and a simulator that dies is started again."""
    run = start(LAPSE_TIMER="none", LAPSE_PAYMENT_WINDOW="600").opened()
    cashier = re.search(r"The cashier +(http://127\.0\.0\.1:\d+)/", run.said)
    assert cashier

    def pay(api: httpx.Client) -> None:
        order = place(api)
        buyer = Buyer(api.post(f"/orders/{order['id']}/pay").json()["pay_url"])
        assert buyer.page.startswith(cashier[1])
        assert buyer.scan()
        assert (buyer.pay() or "").startswith(f"http://127.0.0.1:{run.port}/payment/alipay/return/?")
        assert eventually(lambda: api.get(f"/orders/{order['id']}").json()["status"] == "paid")

    with run.api() as api:
        assert eventually(lambda: answers(cashier[1]))
        pay(api)
        os.kill(run.child("lapse.testing.alipay"), signal.SIGKILL)
        assert eventually(lambda: "The cashier ended (killed by SIGKILL)" in run.said)
        assert eventually(lambda: answers(cashier[1]))
        pay(api)
    run.process.terminate()
    assert run.process.wait(PATIENCE) == 0, run.said
    assert run.processes() == {}


@pytest.mark.parametrize("given", [{"ALIPAY_APP_ID": "2021000000000001"}, {"SHOP_GATEWAY": "development"}])
def test_no_simulator_where_another_way_to_pay_is_set(start: Callable[..., Run], given: dict[str, str]) -> None:
    """With an Alipay of the merchant's own, or the development gateway, none is started."""
    run = start(LAPSE_TIMER="none", **given).opened()
    assert not any("lapse.testing.alipay" in line for line in run.processes().values())
    assert not (run.folder / "alipay").exists()
    run.process.terminate()
    assert run.process.wait(PATIENCE) == 0


def test_servers_of_others_are_used_and_left_alone(start: Callable[..., Run]) -> None:
    """With DATABASE_URL and REDIS_URL nothing private is started, and a bare scheme means that Redis."""
    with RedisServer(password="not to be shown") as redis, PostgresServer() as postgres:
        run = start(LAPSE_TIMER="redis+expiry://", REDIS_URL=redis.url, DATABASE_URL=postgres.url).opened()
        assert not (run.folder / "postgres").exists()
        assert not (run.folder / "redis").exists()
        assert f"redis+expiry://127.0.0.1:{redis.port}/0" in run.said
        with run.api() as api:
            see_it_lapse(api, place(api))
        run.process.terminate()
        assert run.process.wait(PATIENCE) == 0
        assert "not%20to%20be%20shown" not in run.said
        assert redis.running
        assert postgres.running


def test_absent_timer_is_said_at_once(start: Callable[..., Run]) -> None:
    """A timer whose server is not there ends the run with 1 and one clear line."""
    run = start(LAPSE_TIMER="redis://:hidden@127.0.0.1:1/0")
    assert run.process.wait(PATIENCE) == 1
    assert "no answer" in run.said
    assert "Traceback" not in run.said
    assert "hidden" not in run.said
    assert run.processes() == {}


def test_data_and_secrets_stay_for_the_next_run(start: Callable[..., Run]) -> None:
    """A second run has the same orders and the same sign-in, and Ctrl-C ends it as well."""
    first = start().opened()
    with first.api() as api:
        order, token = place(api), api.headers["Authorization"]
    kept = ("secrets.json", "alipay/app_private.pem", "alipay/alipay_public.pem")
    secrets = [(first.folder / name).read_text() for name in kept]
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(PATIENCE) == 0, first.said
    second = start().opened()
    with httpx.Client(base_url=f"http://127.0.0.1:{second.port}/api", headers={"Authorization": token}) as api:
        see_it_lapse(api, order)
    assert [(second.folder / name).read_text() for name in kept] == secrets
    second.process.send_signal(signal.SIGHUP)
    assert second.process.wait(PATIENCE) == 0, second.said
    assert second.processes() == {}


def test_killed_run_leaves_nothing_and_can_be_started_at_once(start: Callable[..., Run]) -> None:
    """SIGKILL of the run ends its children; a next run waits for them and opens on the same data and port."""
    first = start().opened()
    first.process.kill()
    first.process.wait()
    second = start(PORT=str(first.port)).opened()
    second.process.kill()
    second.process.wait()
    assert eventually(second.is_gone)
    assert second.is_port_free()


def test_dead_worker_and_servers_are_started_again(start: Callable[..., Run]) -> None:
    """SIGKILL of the worker, then of Redis, then of PostgreSQL: each is started again, and orders still lapse."""
    run = start().opened()
    os.kill(run.child("lapse_worker"), signal.SIGKILL)
    assert eventually(lambda: "The worker ended (killed by SIGKILL)" in run.said)
    os.kill(run.child("redis-server"), signal.SIGKILL)
    assert eventually(lambda: "Redis ended by itself" in run.said)
    os.kill(run.child("bin/postgres -D"), signal.SIGKILL)
    assert eventually(lambda: "PostgreSQL ended by itself" in run.said)

    def works() -> bool:
        try:
            with run.api() as api:
                see_it_lapse(api, place(api))
        except (AssertionError, httpx.HTTPError, KeyError):
            return False  # answered with an error while the database was on its way back
        return True

    assert eventually(works), run.said
    assert run.child("lapse_worker")
    run.process.terminate()
    assert run.process.wait(PATIENCE) == 0
    assert run.processes() == {}


def test_dead_web_server_ends_the_run(start: Callable[..., Run]) -> None:
    """Without its web server a run is over: exit code of the server, everything else ended in good order."""
    run = start().opened()
    os.kill(run.child("uvicorn"), signal.SIGKILL)
    assert run.process.wait(PATIENCE) == 128 + signal.SIGKILL
    assert "The web server ended (killed by SIGKILL)" in run.said
    assert run.processes() == {}


def test_second_run_in_the_same_checkout_is_refused(start: Callable[..., Run]) -> None:
    """Two runs would share one database: the second says who is there, and ends with 2."""
    first = start(LAPSE_TIMER="none").opened()
    second = start()
    assert second.process.wait(PATIENCE) == 2
    assert f"process {first.process.pid}" in second.said
    assert first.process.poll() is None


def test_taken_port_of_the_simulator(start: Callable[..., Run]) -> None:
    """It is said as well, by its own name."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        run = start(ALIPAY_SIMULATOR_PORT=str(other.getsockname()[1]))
        assert run.process.wait(PATIENCE) == 2
    assert "make run ALIPAY_SIMULATOR_PORT=" in run.said


def test_taken_port_is_an_error_before_anything_is_started(start: Callable[..., Run]) -> None:
    """A port that somebody else has is said, with what to write instead."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        run = start(PORT=str(other.getsockname()[1]))
        assert run.process.wait(PATIENCE) == 2
    assert f"Port {run.port} is taken" in run.said
    assert not (run.folder / "postgres").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LAPSE_PAYMENT_WINDOW", "soon"),
        ("LAPSE_PAYMENT_WINDOW", "nan"),
        ("LAPSE_PAYMENT_WINDOW", "0"),
        ("ALIPAY_SIMULATOR_PORT", "x"),
        ("SHOP_GATEWAY", "cash"),
        ("LAPSE_TIMER", "cron://"),
        ("LAPSE_TIMER", "memory://"),
        ("LAPSE_TIMER", "redis"),
        ("REDIS_URL", "localhost:6379"),
    ],
)
def test_wrong_settings_are_named(start: Callable[..., Run], name: str, value: str) -> None:
    """A setting that cannot be ends the run with 2 and its name, before anything is started."""
    run = start(**{name: value})
    assert run.process.wait(PATIENCE) == 2
    assert name in run.said
    assert "Traceback" not in run.said
    assert not (run.folder / "postgres").exists()


def test_signal_during_the_set_up_stops_it(start: Callable[..., Run]) -> None:
    """SIGTERM while the database is still being made ends everything too."""
    run = start()
    assert eventually((run.folder / "postgres").exists)
    run.process.terminate()
    assert run.process.wait(PATIENCE) == 0, run.said
    assert eventually(run.is_gone)
