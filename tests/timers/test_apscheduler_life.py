"""The APScheduler timer with two claiming processes, with killed ones, and with schedulers of the library's own."""

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
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
from lapse.engine.deadline import from_milliseconds
from lapse.testing.conformance import LONG, ODD_KEYS, ago, ahead, keys_of, run_together, wait_until
from lapse.testing.servers import PostgresServer, RedisServer
from lapse.timers.apscheduler import single_claimer
from lapse.timers.apscheduler.generation import read_record
from lapse.timers.apscheduler.job import now, read
from lapse.timers.apscheduler.sql import SqlStores
from lapse.timers.apscheduler.stores import Store, Transfer
from lapse.timers.apscheduler.timer import ApschedulerTimer
from tests.each_redis import each_redis

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


@pytest.fixture(
    params=[*each_redis(), *(pytest.param(kind, marks=pytest.mark.long) for kind in ("postgresql", "sqlite"))]
)
def url(request: pytest.FixtureRequest, redis_of: Callable[[Path], RedisServer], sql_url: Callable[[str], str]) -> str:
    """Return a URL of each kind of store."""
    store: str | Path = request.param
    return "apscheduler+" + (sql_url(store) if isinstance(store, str) else redis_of(store).url)


@pytest.fixture
def timer(url: str, timer_name: str) -> Iterator[ApschedulerTimer]:
    """Open a timer."""
    with open_timer(url, name=timer_name) as timer:
        assert isinstance(timer, ApschedulerTimer)
        yield timer


@contextmanager
def claimant(url: str, name: str, *, lease: float = 10.0) -> Iterator[subprocess.Popen[str]]:
    """Start another process that claims all due deadlines, keeps them and goes on claiming."""
    command = [sys.executable, "-c", CLAIMANT, url, name, str(lease)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def claimed_keys(process: subprocess.Popen[str]) -> list[str]:
    """Return the keys that the process has claimed."""
    assert process.stdout
    return process.stdout.readline().split()


def freeze(process: subprocess.Popen[str], timer: Timer) -> None:
    """Stop the process between two transactions: inside one it would hold the locks of an SQLite file for ever."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        try:
            timer.arm([Deadline("far", ahead(LONG))])
        except TimerUnavailable:
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.1)  # stopped again at once, it would stand in the same transaction, again and again
        else:
            return


def claim_patiently(timer: Timer) -> list[Claim]:
    """Claim until there are claims, for longer than a dead process keeps its ownership and its leases."""
    for _ in range(60):
        if claims := timer.claim(wait=timedelta(seconds=1)):
            assert all(claim.late_by >= timedelta(0) for claim in claims)
            return claims
    raise AssertionError("nothing was claimed")


def library_store(timer: ApschedulerTimer, store: str = "pending") -> BaseJobStore:
    """Open a store of the timer as a program that uses the library alone would."""
    stores = timer._stores
    if isinstance(stores, SqlStores):
        engine = stores._dialect.engine
        return SQLAlchemyJobStore(engine=engine, tablename=f"lapse_{store}_{timer.name}")
    pool = stores._client.connection_pool  # type: ignore[attr-defined] # the other class is RedisStores
    prefix = f"lapse:apscheduler:{{{timer.name}}}:{store}"
    return RedisJobStore(jobs_key=prefix, run_times_key=f"{prefix}_times", connection_pool=pool)


# --- one process claims ---


def test_a_second_claimant_is_refused(timer: ApschedulerTimer, url: str, timer_name: str) -> None:
    """While one process claims, another is refused with its name; it may still arm, disarm and count."""
    timer.arm([Deadline("1", ago(1))])
    with claimant(url, timer_name) as first:
        assert claimed_keys(first) == ["1"]
        with pytest.raises(TimerRefused, match=f"process {first.pid} on .* claims from this timer"):
            claim_patiently(timer)
        timer.arm([Deadline("2", ahead(LONG)), Deadline("3", ahead(LONG))])
        timer.disarm(["3"])
        stats = timer.stats()
        assert (stats.pending, stats.claimed) == (1, 1)
        assert any(f"process {first.pid}" in finding.text for finding in timer.check())
        assert first.poll() is None


def test_a_clock_that_is_ahead_does_not_take_over(
    timer: ApschedulerTimer, url: str, timer_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a second host's clock the first process's time is long over, but its renewals show that it lives."""
    timer.arm([Deadline("1", ago(1))])
    with claimant(url, timer_name) as first:
        assert claimed_keys(first) == ["1"]
        monkeypatch.setattr(single_claimer, "now", lambda: now() + 3_600_000)
        with pytest.raises(TimerRefused, match=f"process {first.pid} on"):
            claim_patiently(timer)
        assert first.poll() is None


def test_a_killed_process_is_succeeded(timer: ApschedulerTimer, url: str, timer_name: str) -> None:
    """The process that takes over claims the killed one's deadlines once their leases are over, as second attempts."""
    timer.arm([Deadline("1", ago(1))])
    with claimant(url, timer_name, lease=2) as first:
        armed_at = datetime.now(UTC)
        assert claimed_keys(first) == ["1"]
        first.kill()
        first.wait()
    (again,) = claim_patiently(timer)
    assert (again.key, again.attempt) == ("1", 2)
    assert again.claimed_at >= armed_at + timedelta(seconds=2)


def test_a_frozen_process_comes_back_and_is_refused(timer: ApschedulerTimer, url: str, timer_name: str) -> None:
    """It lost ownership while it was stopped: its next claim fails, and takes nothing from its successor."""
    timer.arm([Deadline("1", ago(1))])
    with claimant(url, timer_name, lease=2) as first:
        assert claimed_keys(first) == ["1"]
        freeze(first, timer)
        (claim,) = claim_patiently(timer)
        os.kill(first.pid, signal.SIGCONT)
        while first.poll() is None:
            timer.renew([claim])
            timer.claim(wait=timedelta(milliseconds=200))
        assert first.stderr
        assert f"process {os.getpid()} on" in first.stderr.read()
    assert timer.settle([claim]) == 1


def test_a_closed_timer_releases_ownership_at_once(timer: ApschedulerTimer, url: str, timer_name: str) -> None:
    """The successor of a worker that stops in good order does not wait."""
    with open_timer(url, name=timer_name) as first:
        first.arm([Deadline("1", ago(1))])
        (claim,) = first.claim()
        first.settle([claim])
    state, record = read_record(timer._stores)
    assert record is not None
    assert record.owner == ""
    timer.arm([Deadline("2", ago(1))])
    with claimant(url, timer_name) as other:
        assert claimed_keys(other) == ["2"]
        after, _ = read_record(timer._stores)
        assert after != state


def test_renewing_leases_renews_ownership(timer: ApschedulerTimer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewing the leases of a long batch renews ownership as well, although no claim goes on."""
    monkeypatch.setattr(single_claimer, "RENEW_AFTER", 0.01)
    timer.arm([Deadline("1", ago(1))])
    claims = timer.claim(lease=LONG)
    _, before = read_record(timer._stores)
    wait_until(lambda: bool(timer.renew(claims)) and read_record(timer._stores)[1] != before)


def test_a_reader_of_the_file_does_not_block_arming(tmp_path: Path, timer_name: str) -> None:
    """Orders in the same SQLite file are read one after the other while they are armed."""
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as shop, open_timer(f"apscheduler+sqlite:///{file}", name=timer_name) as timer:
        shop.execute("CREATE TABLE orders (code TEXT)")
        shop.executemany("INSERT INTO orders VALUES (?)", [(str(number),) for number in range(10)])
        shop.commit()
        assert timer.stats().pending == 0
        for (code,) in shop.execute("SELECT code FROM orders"):
            timer.arm([Deadline(code, ago(5))])
        assert timer.stats().pending == 10


def test_a_forked_process_has_its_own_connections(timer: ApschedulerTimer) -> None:
    """A child arms with its parent's handle, and disturbs none of its parent's connections."""
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


def test_a_deadline_disarmed_during_a_claim_stays_disarmed(timer: ApschedulerTimer, url: str, timer_name: str) -> None:
    """A claim that read a job before it was disarmed does not write the job again."""
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
    """Jobs that became due while no process ran are all claimed, however late: no grace time drops them."""
    with open_timer(url, name=timer_name) as before:
        before.arm([Deadline(str(number), ago(3600)) for number in range(100)])
    with open_timer(url, name=timer_name) as after:
        claims = after.claim()
        assert len(claims) == 100
        assert all(claim.late_by >= timedelta(hours=1) for claim in claims)


def test_a_scheduler_of_the_librarys_own_removes_nothing(timer: ApschedulerTimer) -> None:
    """It runs the jobs, each raises an error that names Lapse, and all of them stay for Lapse's worker."""
    timer.arm([Deadline("late", ago(60)), Deadline("soon", ahead(timedelta(milliseconds=300)))])
    timer.generation()  # the record is a job as well
    errors: list[str] = []
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_listener(lambda event: errors.append(str(event.exception)), EVENT_JOB_ERROR)
    store = library_store(timer)
    scheduler.add_jobstore(store)
    scheduler.start()
    wait_until(lambda: len(errors) >= 2)
    store.shutdown = lambda: None  # the timer owns its connections
    scheduler.shutdown()
    assert all("deadline of Lapse" in error for error in errors)
    assert timer.stats().pending == 2
    claimed = claim_patiently(timer)
    while len(claimed) < 2:
        claimed += claim_patiently(timer)
    assert sorted(keys_of(claimed)) == ["late", "soon"]


def test_the_library_sees_one_job_per_order(timer: ApschedulerTimer) -> None:
    """The job's id is the order's key, its next run the deadline. Buried jobs are in a store of their own."""
    due_at = ahead(LONG).replace(microsecond=5000)
    timer.arm([Deadline("1001", due_at), Deadline("1002", ago(5))])
    (claim,) = timer.claim()
    timer.bury([claim], reason="bad")
    job, record = library_store(timer).get_all_jobs()
    assert (record.id, record.next_run_time) == ("lapse:claimant", None)  # paused: no scheduler runs it
    assert (job.id, job.next_run_time, job.misfire_grace_time) == ("1001", due_at, None)
    (buried,) = library_store(timer, "buried").get_all_jobs()
    assert (buried.id, buried.next_run_time, buried.kwargs["reason"]) == ("1002", None, "bad")


def test_keys_that_no_job_id_can_have(timer: ApschedulerTimer) -> None:
    """Keys that are too long for an id, or look like an id of Lapse, work like any other."""
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
    """Also where the names differ only in case, in characters that a table name cannot contain, or at the end."""
    own = [(name + timer_name)[:100] if len(name) < 50 else name[len(timer_name) :] + timer_name for name in names]
    for name in own:
        with open_timer(url, name=name) as timer:
            timer.arm([Deadline(name, ahead(LONG))])
    for name in own:
        with open_timer(url, name=name) as timer:
            assert timer.stats().pending == 1


# --- the generation, and damaged or missing stores ---


def test_an_emptied_store_is_another_generation(timer: ApschedulerTimer) -> None:
    """Deleting the jobs changes the generation, and tokens go on rising."""
    timer.arm([Deadline("1", ago(1))])
    (before,) = timer.claim()
    first = timer.generation()
    for store in ("pending", "claimed", "buried"):
        library_store(timer, store).remove_all_jobs()
    assert timer.generation() != first
    timer.arm([Deadline("1", ago(1))])
    wait_until(lambda: read_record(timer._stores)[1] is not None)
    with closing(open_timer_again(timer)) as again:
        (after,) = again.claim(wait=timedelta(seconds=30))
    assert after.token > before.token


def open_timer_again(timer: ApschedulerTimer) -> Timer:
    """Return the handle as it is after a restart of the process: with another claimer."""
    single_claimer._claimers.clear()
    timer._claimer = single_claimer.claimer_of(timer._stores.address)
    return timer


def test_dropped_tables_come_back(postgres: PostgresServer, timer_name: str) -> None:
    """A call that finds no table raises TimerUnavailable, and the next call creates the table."""
    with open_timer(f"apscheduler+{postgres.url}", name=timer_name) as timer:
        timer.arm([Deadline("1", ago(1))])
        with psycopg.connect(postgres.url, autocommit=True) as admin:
            admin.execute(f'DROP TABLE "lapse_pending_{timer_name}"'.encode())
        with pytest.raises(TimerUnavailable):
            timer.stats()
        assert timer.stats().pending == 0


def test_many_open_an_empty_database_at_once(tmp_path: Path, postgres: PostgresServer, timer_name: str) -> None:
    """The tables are created once, by the first process."""
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
    """Only plain values are read from a store; a foreign or damaged job is refused."""
    with pytest.raises(TimerRefused, match=r"posix\.system"):
        read(pickle.dumps({"func": Explosive()}))
    for state in (b"", b"garbage", pickle.dumps({"func": "shop.mail:remind", "id": "1"}), pickle.dumps([])):
        with pytest.raises(TimerRefused, match="Lapse's jobs only"):
            read(state)


STORED_EARLIER = (
    b"\x80\x05\x95\x9b\x01\x00\x00\x00\x00\x00\x00}\x94(\x8c\x07version\x94K\x01\x8c\x02id\x94\x8c\x041001\x94"
    b"\x8c\x04func\x94\x8c$lapse.timers.jobs.job:lapse_deadline\x94\x8c\x07trigger\x94\x8c\x15lapse.timers.jobs.j"
    b"ob\x94\x8c\x0cUntilSettled\x94\x93\x94)\x81\x94N}\x94\x8c\x06due_at\x94\x8c\x08datetime\x94\x8c\x08datetime"
    b"\x94\x93\x94C\n\x07\xe7\x0b\x0e\x16\r\x14\x00\x00\x00\x94h\r\x8c\x08timezone\x94\x93\x94h\r\x8c\ttimedelta"
    b"\x94\x93\x94K\x00K\x00K\x00\x87\x94R\x94\x85\x94R\x94\x86\x94R\x94s\x86\x94b\x8c\x08executor\x94\x8c\x07def"
    b"ault\x94\x8c\x04args\x94h\x03\x85\x94\x8c\x06kwargs\x94}\x94(\x8c\x07attempt\x94K\x02\x8c\x05token\x94K\x07"
    b"u\x8c\x04name\x94\x8c\x0elapse deadline\x94\x8c\x12misfire_grace_time\x94N\x8c\x08coalesce\x94\x88\x8c\rmax"
    b"_instances\x94K\x01\x8c\rnext_run_time\x94h\x0fC\n\x07\xe7\x0b\x0e\x16\r\x14\x00\x00\x00\x94h\x18\x86\x94R"
    b"\x94u."
)
"""The job of order 1001 as it was stored when its modules were in `lapse.timers.jobs`: claimed twice, due in 2023."""


def test_a_job_that_an_earlier_version_stored_is_claimed(timer: ApschedulerTimer) -> None:
    """A job names the modules of its function and its trigger: their earlier names are read as well."""
    due = 1_700_000_000_000
    timer._stores.transfer([Transfer("1001", Store.NONE, b"", Store.PENDING, STORED_EARLIER, due)])
    (claim,) = timer.claim()
    assert (claim.key, claim.due_at, claim.attempt) == ("1001", from_milliseconds(due), 3)
    assert timer.settle([claim]) == 1


def test_unreachable_is_not_refused(tmp_path: Path, postgres: PostgresServer) -> None:
    """A missing server is unavailable; a missing database, right or folder is refused."""
    for url in ("redis://127.0.0.1:1/0", f"postgresql:///x?host={tmp_path}"):
        with open_timer(f"apscheduler+{url}", name="orders") as timer, pytest.raises(TimerUnavailable):
            timer.stats()
    (tmp_path / "text.db").write_text("no database at all, but long enough to be read as one" * 100)
    for url in (postgres.url_of("nowhere"), f"sqlite:///{tmp_path}/none/x.db", f"sqlite:///{tmp_path}/text.db"):
        with open_timer(f"apscheduler+{url}", name="orders") as timer, pytest.raises(TimerRefused):
            timer.stats()


def test_a_role_without_rights_is_refused(postgres: PostgresServer, timer_name: str) -> None:
    """The message says what to grant."""
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {timer_name} LOGIN".encode())
    stranger = postgres.url.replace("postgres@", f"{timer_name}@")
    with open_timer(f"apscheduler+{stranger}", name=timer_name) as timer:
        calls: list[Callable[[], object]] = [lambda: timer.arm([Deadline("1", ago(1))]), timer.claim, timer.check]
        for call in calls:
            with pytest.raises(TimerRefused, match="GRANT"):
                call()


def test_after_a_restart_of_the_server_no_sale_fails(timer_name: str) -> None:
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
    """ConfigError is raised before anything is opened."""
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
    assert f"pip install '.[{extra}]'" in answer.stdout
