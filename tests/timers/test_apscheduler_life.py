"""What the timer on APScheduler lives through: two claimants, killed ones, schedulers of the library's own."""

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from apscheduler.events import EVENT_JOB_ERROR
from apscheduler.jobstores.base import BaseJobStore
from apscheduler.jobstores.redis import RedisJobStore
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from lapse import Claim, ConfigError, Deadline, Timer, TimerRefused, TimerUnavailable, open_timer
from lapse.testing.conformance import LONG, ODD_KEYS, ago, ahead, keys_of, run_together, wait_until
from lapse.testing.servers import PostgresServer, RedisServer
from lapse.timers.apscheduler import single_claimer
from lapse.timers.apscheduler.job import now, read
from lapse.timers.apscheduler.sql import SqlJobs
from lapse.timers.apscheduler.timer import ApschedulerTimer

CLAIMANT = """
import sys
from datetime import timedelta
from lapse import open_timer
with open_timer(sys.argv[1], name=sys.argv[2]) as timer:
    claims = timer.claim(wait=timedelta(seconds=60), lease=timedelta(seconds=float(sys.argv[3])))
    print(*(claim.key for claim in claims), flush=True)
    while True:
        timer.claim(wait=timedelta(seconds=1))
"""


@pytest.fixture(scope="module")
def one_redis() -> Iterator[RedisServer]:
    """Start one Redis, where it does not matter which."""
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["redis", "postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, one_redis: RedisServer, sql_url: Callable[[str], str]) -> str:
    """Address each kind of store."""
    return "apscheduler+" + (one_redis.url if request.param == "redis" else sql_url(request.param))


@pytest.fixture
def timer(url: str, timer_name: str) -> Iterator[ApschedulerTimer]:
    """Open a timer."""
    with open_timer(url, name=timer_name) as timer:
        assert isinstance(timer, ApschedulerTimer)
        yield timer


@contextmanager
def claimant(url: str, name: str, *, lease: float = 10.0) -> Iterator[subprocess.Popen[str]]:
    """Start another process that claims all there is, holds it and goes on claiming."""
    command = [sys.executable, "-c", CLAIMANT, url, name, str(lease)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> list[str]:
    """Read the keys that it claimed."""
    assert process.stdout
    return process.stdout.readline().split()


def freeze(process: subprocess.Popen[str], timer: Timer) -> None:
    """Stop it between two of its transactions: within one it would hold the locks of an SQLite file for ever."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        try:
            timer.arm([Deadline("far", ahead(LONG))])
        except TimerUnavailable:
            os.kill(process.pid, signal.SIGCONT)
        else:
            return


def claim_patiently(timer: Timer) -> list[Claim]:
    """Claim until something comes, for as long as a dead claimant's seat and lease may last, and longer."""
    for _ in range(60):
        if claims := timer.claim(wait=timedelta(seconds=1)):
            assert all(claim.late_by >= timedelta(0) for claim in claims)
            return claims
    raise AssertionError("nothing came")


def library_store(timer: ApschedulerTimer, place: str = "pending") -> BaseJobStore:
    """Open what the timer has stored as a program of the library's own would."""
    jobs = timer._jobs
    if isinstance(jobs, SqlJobs):
        engine = jobs._dialect.engine
        return SQLAlchemyJobStore(engine=engine, tablename=f"lapse_{place}_{timer.name}")
    pool = jobs._client.connection_pool  # type: ignore[attr-defined] # the other is the one on Redis
    prefix = f"lapse:apscheduler:{{{timer.name}}}:{place}"
    return RedisJobStore(jobs_key=prefix, run_times_key=f"{prefix}_times", connection_pool=pool)


# --- one process claims ---


def test_a_second_claimant_is_refused(timer: ApschedulerTimer, url: str, timer_name: str) -> None:
    """While one process claims, another is told which one; it may still arm, disarm and count."""
    timer.arm([Deadline("1", ago(1))])
    with claimant(url, timer_name) as first:
        assert said(first) == ["1"]
        with pytest.raises(TimerRefused, match=f"process {first.pid} on .* claims from this timer"):
            claim_patiently(timer)
        timer.arm([Deadline("2", ahead(LONG)), Deadline("3", ahead(LONG))])
        timer.disarm(["3"])
        stats = timer.stats()
        assert (stats.pending, stats.claimed) == (1, 1)
        assert any(f"process {first.pid}" in finding.text for finding in timer.check())
        assert first.poll() is None


def test_a_clock_that_is_ahead_takes_no_seat(
    timer: ApschedulerTimer, url: str, timer_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock of a second host the first one's time is long over; that it renews its seat shows that it lives."""
    timer.arm([Deadline("1", ago(1))])
    with claimant(url, timer_name) as first:
        assert said(first) == ["1"]
        monkeypatch.setattr(single_claimer, "now", lambda: now() + 3_600_000)
        with pytest.raises(TimerRefused, match=f"process {first.pid} on"):
            claim_patiently(timer)
        assert first.poll() is None


def test_a_killed_claimant_is_succeeded(timer: ApschedulerTimer, url: str, timer_name: str) -> None:
    """What it held is handed out once its lease is over, to the process that takes its seat, under a later token."""
    timer.arm([Deadline("1", ago(1))])
    with claimant(url, timer_name, lease=2) as first:
        armed_at = datetime.now(UTC)
        assert said(first) == ["1"]
        first.kill()
        first.wait()
    (again,) = claim_patiently(timer)
    assert (again.key, again.attempt) == ("1", 2)
    assert again.claimed_at >= armed_at + timedelta(seconds=2)


def test_a_frozen_claimant_comes_back_and_is_refused(timer: ApschedulerTimer, url: str, timer_name: str) -> None:
    """It lost its seat while it was stopped: its next claim fails, and takes nothing from its successor."""
    timer.arm([Deadline("1", ago(1))])
    with claimant(url, timer_name, lease=2) as first:
        assert said(first) == ["1"]
        freeze(first, timer)
        (claim,) = claim_patiently(timer)
        os.kill(first.pid, signal.SIGCONT)
        while first.poll() is None:
            timer.renew([claim])
            timer.claim(wait=timedelta(milliseconds=200))
        assert first.stderr
        assert f"process {os.getpid()} on" in first.stderr.read()
    assert timer.settle([claim]) == 1


def test_a_closed_timer_leaves_its_seat_at_once(timer: ApschedulerTimer, url: str, timer_name: str) -> None:
    """A worker that stops in good order keeps its successor waiting for nothing."""
    with open_timer(url, name=timer_name) as first:
        first.arm([Deadline("1", ago(1))])
        (claim,) = first.claim()
        first.settle([claim])
    state, record = single_claimer.look(timer._jobs)
    assert record is not None
    assert record.owner == ""
    timer.arm([Deadline("2", ago(1))])
    with claimant(url, timer_name) as other:
        assert said(other) == ["2"]
        after, _ = single_claimer.look(timer._jobs)
        assert after != state


def test_a_claim_that_holds_long_keeps_the_seat(timer: ApschedulerTimer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewing the leases of a long batch renews the seat as well, although no claim goes on."""
    monkeypatch.setattr(single_claimer, "RENEW_AFTER", 0.01)
    timer.arm([Deadline("1", ago(1))])
    claims = timer.claim(lease=LONG)
    _, before = single_claimer.look(timer._jobs)
    wait_until(lambda: bool(timer.renew(claims)) and single_claimer.look(timer._jobs)[1] != before)


def test_who_reads_the_file_keeps_nobody_from_arming(tmp_path: Path, timer_name: str) -> None:
    """The orders may be in the same SQLite file, and are read one after the other while they are armed."""
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as shop, open_timer(f"apscheduler+sqlite:///{file}", name=timer_name) as timer:
        shop.execute("CREATE TABLE orders (code TEXT)")
        shop.executemany("INSERT INTO orders VALUES (?)", [(str(number),) for number in range(10)])
        shop.commit()
        assert timer.stats().pending == 0
        for (code,) in shop.execute("SELECT code FROM orders"):
            timer.arm([Deadline(code, ago(5))])
        assert timer.stats().pending == 10


def test_a_forked_process_is_another_one(timer: ApschedulerTimer) -> None:
    """A child with its parent's handle arms, and disturbs none of its parent's connections."""
    timer.arm([Deadline("1", ahead(LONG))])
    child = os.fork()
    if not child:
        with suppress(BaseException):
            timer.arm([Deadline("2", ahead(LONG))])
            os._exit(0 if timer.stats().pending == 2 else 1)
        os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert timer.stats().pending == 2


def test_what_is_disarmed_while_it_is_claimed_stays_away(timer: ApschedulerTimer, url: str, timer_name: str) -> None:
    """A claim that read a job before it was disarmed does not bring it back."""
    keys = [str(number) for number in range(1000)]
    timer.arm([Deadline(key, ago(5)) for key in keys])

    def claim() -> None:
        while timer.claim(40, lease=LONG):
            pass

    def disarm() -> None:
        with open_timer(url, name=timer_name) as other:
            for start in range(0, len(keys), 25):
                other.disarm(keys[start : start + 25])

    run_together([claim, disarm])
    stats = timer.stats()
    assert (stats.pending, stats.claimed, stats.buried) == (0, 0, 0)


# --- late, and never lost ---


def test_a_late_restart_drops_nothing(url: str, timer_name: str) -> None:
    """Jobs that came due while nobody ran are all handed out, however late: the library's grace time drops none."""
    with open_timer(url, name=timer_name) as before:
        before.arm([Deadline(str(number), ago(3600)) for number in range(100)])
    with open_timer(url, name=timer_name) as after:
        claims = after.claim()
        assert len(claims) == 100
        assert all(claim.late_by >= timedelta(hours=1) for claim in claims)


def test_a_scheduler_of_the_librarys_own_takes_nothing_away(timer: ApschedulerTimer) -> None:
    """It runs the jobs, each says that it is Lapse's, and all of them are still there for Lapse's worker."""
    timer.arm([Deadline("late", ago(60)), Deadline("soon", ahead(timedelta(milliseconds=300)))])
    timer.generation()  # the record is a job as well
    errors: list[str] = []
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_listener(lambda event: errors.append(str(event.exception)), EVENT_JOB_ERROR)
    store = library_store(timer)
    scheduler.add_jobstore(store)
    scheduler.start()
    wait_until(lambda: len(errors) >= 2)
    store.shutdown = lambda: None  # its connections are the timer's
    scheduler.shutdown()
    assert all("deadline of Lapse" in error for error in errors)
    assert timer.stats().pending == 2
    claimed = claim_patiently(timer)
    while len(claimed) < 2:
        claimed += claim_patiently(timer)
    assert sorted(keys_of(claimed)) == ["late", "soon"]


def test_one_job_per_order_is_what_the_library_sees(timer: ApschedulerTimer) -> None:
    """The job's id is the order's key, its next run the deadline; what is buried is in a store of its own."""
    due_at = ahead(LONG).replace(microsecond=5000)
    timer.arm([Deadline("1001", due_at), Deadline("1002", ago(5))])
    (claim,) = timer.claim()
    timer.bury([claim], reason="bad")
    job, record = library_store(timer).get_all_jobs()
    assert (record.id, record.next_run_time) == ("lapse:claimant", None)  # paused: no scheduler runs it
    assert (job.id, job.next_run_time, job.misfire_grace_time) == ("1001", due_at, None)
    (buried,) = library_store(timer, "buried").get_all_jobs()
    assert (buried.id, buried.next_run_time, buried.kwargs["reason"]) == ("1002", None, "bad")


def test_keys_that_no_job_can_have(timer: ApschedulerTimer) -> None:
    """Keys that are too long for an id, or look like one of ours, are orders like any other."""
    keys = [*ODD_KEYS, "y" * 191, "y" * 192, "订" * 170, "lapse:claimant", "lapse:"]
    timer.arm([Deadline(key, ago(5)) for key in keys])
    claims = timer.claim()
    assert sorted(keys_of(claims)) == sorted(keys)
    timer.generation()
    assert timer.settle(claims) == len(keys)


@pytest.mark.parametrize(
    "names", [("Orders", "orders", "ORDERS"), ("a.b", "a-b", "a_b"), ("n" * 100, "n" * 99, "n" * 40)]
)
def test_timers_of_different_names_do_not_meet(url: str, timer_name: str, names: tuple[str, ...]) -> None:
    """Whatever a table can be called."""
    own = [(name + timer_name)[:100] if len(name) < 50 else name[len(timer_name) :] + timer_name for name in names]
    for name in own:
        with open_timer(url, name=name) as timer:
            timer.arm([Deadline(name, ahead(LONG))])
    for name in own:
        with open_timer(url, name=name) as timer:
            assert timer.stats().pending == 1


# --- the memory, and what can be wrong with it ---


def test_an_emptied_store_is_another_generation(timer: ApschedulerTimer) -> None:
    """Whoever deletes the jobs changes the memory's name, and tokens go on rising."""
    timer.arm([Deadline("1", ago(1))])
    (before,) = timer.claim()
    first = timer.generation()
    for place in ("pending", "claimed", "buried"):
        library_store(timer, place).remove_all_jobs()
    assert timer.generation() != first
    timer.arm([Deadline("1", ago(1))])
    wait_until(lambda: single_claimer.look(timer._jobs)[1] is not None)
    with closing(open_timer_again(timer)) as again:
        (after,) = again.claim(wait=timedelta(seconds=30))
    assert after.token > before.token


def open_timer_again(timer: ApschedulerTimer) -> Timer:
    """Give another claimant's handle, as after a restart of the process."""
    single_claimer._seats.clear()
    timer._seat = single_claimer.seat_at(timer._jobs.address)
    return timer


def test_dropped_tables_come_back(postgres: PostgresServer, timer_name: str) -> None:
    """A call that meets no table is worth repeating, and the next one makes it."""
    with open_timer(f"apscheduler+{postgres.url}", name=timer_name) as timer:
        timer.arm([Deadline("1", ago(1))])
        with psycopg.connect(postgres.url, autocommit=True) as admin:
            admin.execute(f'DROP TABLE "lapse_pending_{timer_name}"'.encode())
        with pytest.raises(TimerUnavailable):
            timer.stats()
        assert timer.stats().pending == 0


def test_many_open_an_empty_database_at_once(tmp_path: Path, postgres: PostgresServer, timer_name: str) -> None:
    """The tables are made once, whoever comes first."""
    for url in (f"sqlite:///{tmp_path}/fresh.db", postgres.url):

        def arm(url: str = url) -> None:
            with open_timer(f"apscheduler+{url}", name=timer_name) as timer:
                timer.arm([Deadline(str(threading.get_ident()), ago(1))])

        run_together([arm] * 6)
        with open_timer(f"apscheduler+{url}", name=timer_name) as timer:
            assert timer.stats().pending == 6


class Explosive:
    """Runs a program when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("exit 7",)


def test_a_job_that_would_run_code_is_refused() -> None:
    """Only plain values come out of a store; a foreign job, or half a one, is said to be such."""
    with pytest.raises(TimerRefused, match=r"posix\.system"):
        read(pickle.dumps({"func": Explosive()}))
    for state in (b"", b"garbage", pickle.dumps({"func": "shop.mail:remind", "id": "1"}), pickle.dumps([])):
        with pytest.raises(TimerRefused, match="Lapse's jobs only"):
            read(state)


def test_unreachable_is_not_refused(tmp_path: Path, postgres: PostgresServer) -> None:
    """No server is unavailable; no such database, no right and no folder to write to are final."""
    for url in ("redis://127.0.0.1:1/0", f"postgresql:///x?host={tmp_path}"):
        with open_timer(f"apscheduler+{url}", name="orders") as timer, pytest.raises(TimerUnavailable):
            timer.stats()
    (tmp_path / "text.db").write_text("no database at all, but long enough to be read as one" * 100)
    for url in (postgres.url_of("nowhere"), f"sqlite:///{tmp_path}/none/x.db", f"sqlite:///{tmp_path}/text.db"):
        with open_timer(f"apscheduler+{url}", name="orders") as timer, pytest.raises(TimerRefused):
            timer.stats()


def test_a_role_without_rights_is_told_so(postgres: PostgresServer, timer_name: str) -> None:
    """It learns what to grant."""
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {timer_name} LOGIN".encode())
    stranger = postgres.url.replace("postgres@", f"{timer_name}@")
    with open_timer(f"apscheduler+{stranger}", name=timer_name) as timer, pytest.raises(TimerRefused, match="GRANT"):
        timer.stats()


def test_a_restarted_server_fails_no_sale(timer_name: str) -> None:
    """A pooled connection that died with the server is replaced before it is used."""
    with PostgresServer() as server, open_timer(f"apscheduler+{server.url}", name=timer_name) as timer:
        timer.arm([Deadline("1", ahead(LONG))])
        before = timer.generation()
        server.restart()
        timer.arm([Deadline("2", ahead(LONG))])
        assert timer.stats().pending == 2
        assert timer.generation() == before


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "redis:///0", "postgresql://localhost:port/x"])
def test_odd_urls_are_refused(url: str) -> None:
    """What would be misunderstood is said before anything is opened."""
    with pytest.raises(ConfigError):
        open_timer(f"apscheduler+{url}", name="orders")


@pytest.mark.parametrize(
    ("library", "scheme", "extra"),
    [
        ("apscheduler", "redis", "apscheduler,redis"),
        ("redis", "redis", "apscheduler,redis"),
        ("psycopg", "postgres", "apscheduler,postgresql"),
        ("sqlalchemy", "sqlite", "apscheduler"),
    ],
)
def test_a_missing_library_is_named(library: str, scheme: str, extra: str) -> None:
    """The message is the command that installs it."""
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from lapse import open_timer\nfrom lapse.engine.errors import MissingLibrary\n"
        f"try:\n    open_timer('apscheduler+{scheme}://localhost/0', name='orders')\n"
        "except MissingLibrary as error:\n    print(error)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"pip install 'lapse[{extra}]'" in answer.stdout
