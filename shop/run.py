"""`make run`: the shop with a private PostgreSQL and Valkey, its web server and its worker, in one terminal.

PORT                    The web server's port on 127.0.0.1 (8000).
DATABASE_URL            An existing PostgreSQL. Without it a private one is started.
REDIS_URL               An existing Redis or Valkey. Without it a private Valkey is started.
LAPSE_TIMER             A URL, a bare scheme, or none (redis://). A bare scheme means that mechanism on a server of this
                        run, in the shop's database (postgresql://) or in a file (sqlite://).
LAPSE_PAYMENT_WINDOW    Seconds within which an order must be paid (60).
LAPSE_RUN_DIR           The folder of all data (.run in the checkout).
MAIL_SERVER             Where mails are sent (console: the worker prints them). WEBHOOK_URLS and WEBHOOK_SECRETS as in
                        shop/settings.py.
ALIPAY_SIMULATOR_PORT   The port of the Alipay simulator at which orders are paid (a free one).
ALIPAY_APP_ID           With the other ALIPAY_… of shop/settings.py: no simulator, but the Alipay that they describe.
SHOP_GATEWAY            development: no simulator either, but a button that pays at once.
"""

import http.client
import os
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from lapse import LapseError, open_timer
from lapse.testing import supervise
from lapse.testing.servers import PrivateServer
from shop.running import cashier, choices, secrets_file
from shop.running.cashier import Cashier
from shop.running.choices import Choices, WrongChoice
from shop.running.output import say
from shop.running.own_servers import FILE
from shop.running.program import Program
from shop.running.supervision import KeptProgram, KeptServers, Signals, end, ending, watch

CHECKOUT = Path(__file__).resolve().parent.parent
WORKER_GRACE, WEB_GRACE, SETUP_GRACE = 15.0, 10.0, 5.0
OPEN_WITHIN = 120.0
LAST_RUN_ENDS_WITHIN = 60.0
SERVER_ERROR = 500
STOPPING = (
    "\nStopping: the worker finishes its batch, then the web server and the databases stop. "
    "Press Ctrl-C again to stop faster."
)


class Failed(Exception):
    """The shop could not be opened. The message says why."""


def main() -> int:
    """Run the shop until a signal stops it, and return the exit code: 0 stopped, 2 wrong setting, else failed."""
    signals = Signals()
    lock = None
    try:
        chosen = choices.read(os.environ, CHECKOUT)
        lock = _only_one(chosen.folder)
        choices.check_port(chosen.port)
        if chosen.simulator and chosen.simulator_port:
            choices.check_port(chosen.simulator_port, "ALIPAY_SIMULATOR_PORT")
        return _run(chosen, lock, signals)
    except WrongChoice as error:
        say(str(error), error=True)
        return 2
    except (Failed, LapseError, OSError) as error:
        say(str(error), error=True)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        if lock is not None:
            os.ftruncate(lock, 0)


def _run(chosen: Choices, lock: int, signals: Signals) -> int:
    with ExitStack() as running:
        running.callback(_say_when_stopping, signals, "Stopped.")
        paying = cashier.prepare(chosen)
        environment, servers = _prepare(chosen, paying, running)
        kept = []
        _finish(_program("setup", ["seed", "--migrate"], environment, lock, SETUP_GRACE), running, signals)
        if paying is not None:
            at_the_cashier = partial(paying.start, CHECKOUT, environment, lock)
            lost = "Its payments are lost."
            kept.append(KeptProgram("cashier", at_the_cashier, lost=lost))
            running.callback(kept[-1].end, signals)
        address = ["--host=127.0.0.1", f"--port={chosen.port}"]
        quiet = ["--no-access-log", "--log-level=warning", "--lifespan=off", "--timeout-graceful-shutdown=5"]
        quiet += ["--no-proxy-headers"]  # no proxy stands before this server
        # Longer than clients keep an idle connection (httpx: 5 s), else they may use a connection that is being closed.
        quiet += ["--timeout-keep-alive=30"]
        web = Program(
            "web",
            [sys.executable, "-m", "uvicorn", "shop.asgi:application", *address, *quiet],
            directory=CHECKOUT,
            environment=environment,
            keep=lock,
            grace=WEB_GRACE,
        )
        running.callback(end, web, signals)
        working = partial(_program, "worker", ["lapse_worker"], environment, lock, WORKER_GRACE)
        kept.append(KeptProgram("worker", working))
        running.callback(kept[-1].end, signals)
        running.callback(_say_when_stopping, signals, STOPPING)
        if _opens(web, chosen.port):
            _welcome(chosen, paying, environment, servers)
        return watch(web, kept, KeptServers(servers.values()))


def _only_one(folder: Path) -> int:
    """Lock this checkout's data and return the lock's file descriptor. Raises WrongChoice if another run has it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "pid"
    try:
        lock = supervise.lock(file, 0)
    except BlockingIOError:
        process = file.read_text().strip()
        taken = WrongChoice(f"make run is already running here (process {process or 'unknown'}). Stop it first.")
        if not process or _lives(int(process)):
            raise taken from None
        say("The last run was killed. Waiting until the programs that it started have ended.")
        try:
            lock = supervise.lock(file, LAST_RUN_ENDS_WITHIN)
        except BlockingIOError:
            raise taken from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # the process of another user, but it lives
    return True


def _prepare(
    chosen: Choices, paying: Cashier | None, running: ExitStack
) -> tuple[dict[str, str], dict[str, PrivateServer]]:
    """Start the servers, and return the environment of the shop's processes and the servers by store."""
    servers: dict[str, PrivateServer] = {}
    urls = chosen.given
    for own in chosen.to_start:
        server = own.make(chosen.folder / own.folder)
        running.callback(server.close)
        urls[own.store] = server.start().url
        servers[own.store] = server
    timer = chosen.timer_url(urls)
    if chosen.store == FILE:
        (chosen.folder / "timer").mkdir(exist_ok=True)
    if timer != "none":
        with open_timer(timer, name="orders") as opened:
            opened.generation()  # an unsuitable or absent server is reported now, not by the worker's logs
    secrets = secrets_file.load_or_make(chosen.folder / "secrets.json")
    environment = {
        **os.environ,
        **{name: os.environ.get(name) or made for name, made in secrets.items()},
        "DATABASE_URL": urls["postgresql"],
        "LAPSE_TIMER": timer,
        "LAPSE_PAYMENT_WINDOW": chosen.window,
        "DEBUG": "0",
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "PYTHONUNBUFFERED": "1",
        "PUBLIC_URL": cashier.public_url(chosen),
        "MAIL_SERVER": chosen.mails,
        **({} if paying is None else paying.environment()),
    }
    return environment, servers


def _program(name: str, command: list[str], environment: dict[str, str], lock: int, grace: float) -> Program:
    return Program(
        name,
        [sys.executable, "-m", "shop.manage", *command],
        directory=CHECKOUT,
        environment=environment,
        keep=lock,
        grace=grace,
    )


def _finish(step: Program, running: ExitStack, signals: Signals) -> None:
    """Wait until a step of the set-up has ended. Raises Failed."""
    running.callback(end, step, signals)
    code = step.supervised.wait()
    step.collect()
    if code:
        raise Failed(f"The set-up failed ({ending(code)}); its lines are above.")


def _opens(web: Program, port: int) -> bool:
    """Wait until the shop answers and return True; return False if the web server ended. Raises Failed."""
    give_up_at = time.monotonic() + OPEN_WITHIN
    while web.exit_code is None:
        status = _first_page(port)
        if status is not None and status < SERVER_ERROR:
            return True
        if status is not None:
            raise Failed(f"The shop answers with error {status}; the lines above say why.")
        if time.monotonic() > give_up_at:
            raise Failed(f"The shop did not answer within {OPEN_WITHIN:.0f} s; the lines above may say why.")
        time.sleep(0.1)
    return False


def _first_page(port: int) -> int | None:
    """Fetch the first page and return its HTTP status, or None if no server answers yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _welcome(
    chosen: Choices, paying: Cashier | None, environment: dict[str, str], servers: dict[str, PrivateServer]
) -> None:
    given = os.environ.get("MERCHANT_PASSWORD")
    password = "the one in MERCHANT_PASSWORD" if given else environment["MERCHANT_PASSWORD"]
    timer = choices.without_password(environment["LAPSE_TIMER"])
    of_its_own = servers.get(chosen.store or "")
    on = f"   {of_its_own.name} {of_its_own.version}".rstrip() if of_its_own else ""
    say(
        f"\n  The shop is open   http://127.0.0.1:{chosen.port}/"
        f"\n  The cashier        {_paid_at(paying)}"
        f"\n  Merchant           {environment['MERCHANT_EMAIL']}   password: {password}"
        f"\n  Payment window     {chosen.window} s"
        f"\n  Timer              {'none: the sweep alone' if timer == 'none' else timer + on}"
        f"\n  Data               {chosen.folder}"
        f"\n  To stop            Ctrl-C\n"
    )


def _paid_at(paying: Cashier | None) -> str:
    if paying is not None:
        return f"{paying.url}/   a simulator of Alipay: its trades, and faults to switch on"
    return "none: a button pays at once" if os.environ.get("SHOP_GATEWAY") else "the Alipay of your settings"


def _say_when_stopping(signals: Signals, text: str) -> None:
    if signals.stopping:
        say(text)


if __name__ == "__main__":
    sys.exit(main())
