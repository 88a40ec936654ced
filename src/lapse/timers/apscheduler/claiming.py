"""Claims due jobs under a lease, and changes jobs that are claimed or buried."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from lapse.engine.deadline import Claim
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import FRESH_SHARE
from lapse.timers.apscheduler.job import Entry, after, entry_in, job_id, moment, now
from lapse.timers.apscheduler.stores import MOST_TRANSFERS, JobStores, Store, Transfer, parts


def end_leases(stores: JobStores) -> None:
    """Make jobs whose lease has ended pending again, with their old deadline."""
    moved = {""}
    while moved:
        at = now()
        found = [(entry_in(state), state) for state in stores.due(Store.CLAIMED, at, MOST_TRANSFERS)]
        moved = stores.transfer(
            [
                replace(job, run_at=job.due, token=0).transfer(Store.CLAIMED, state, Store.PENDING)
                for job, state in found
                if job.run_at is not None and job.run_at <= at
            ]
        )


def claim_due(stores: JobStores, limit: int, token: int, lease: timedelta) -> list[Claim]:
    """Return claims on up to `limit` due jobs; fewer if other processes arm or disarm jobs at the same moment."""
    claims: list[Claim] = []
    for part in parts(_oldest(stores, limit)):
        at, end = now(), after(lease)
        transfers = [
            replace(job, run_at=end, attempt=job.attempt + 1, token=token).transfer(Store.PENDING, state, Store.CLAIMED)
            for job, state in part
            if job.run_at is not None and job.run_at <= at  # the index may be older than the job
        ]
        try:
            moved = stores.transfer(transfers)
        except TimerUnavailable:
            if not claims:
                raise
            break  # return the earlier parts' claims: their leases have begun
        claims += [
            Claim(job.key, moment(job.due), job.attempt + 1, token, moment(at), moment(end))
            for job, _ in part
            if job_id(job.key) in moved
        ]
    return claims


def change_held(
    stores: JobStores, claims: Sequence[Claim], transfer_of: Callable[[Entry, bytes], Transfer]
) -> set[tuple[str, int]]:
    """Transfer the jobs of the claims that are still held. Return the keys and tokens of these claims."""
    tokens = {(job_id(claim.key), claim.token) for claim in claims}

    def if_held(found: Entry, state: bytes) -> Transfer | None:
        held = (job_id(found.key), found.token) in tokens and found.run_at is not None and found.run_at > now()
        return transfer_of(found, state) if held else None

    changed: set[tuple[str, int]] = set()
    for part in parts(dict.fromkeys(name for name, _ in tokens)):
        changed |= {(entry.key, entry.token) for entry in change(stores, Store.CLAIMED, part, if_held)}
    return changed


def change(
    stores: JobStores, store: Store, job_ids: Sequence[str], transfer_of: Callable[[Entry, bytes], Transfer | None]
) -> list[Entry]:
    """Carry out the transfer that `transfer_of` returns for each job, if any. Return the moved jobs' old entries.

    A job that another process changes between the reading and the transfer is read again.
    """
    changed: list[Entry] = []
    while job_ids:
        found = {name: (entry_in(state), state) for name, state in stores.find(store, job_ids).items()}
        wanted = [transfer_of(entry, state) for entry, state in found.values()]
        transfers = [transfer for transfer in wanted if transfer is not None]
        moved = stores.transfer(transfers)
        changed += [found[name][0] for name in moved]
        job_ids = [transfer.job_id for transfer in transfers if transfer.job_id not in moved]
    return changed


def _oldest(stores: JobStores, limit: int) -> Iterable[tuple[Entry, bytes]]:
    """Return due jobs, oldest first. If there are more than `limit`, the last part of the list are the newest jobs."""
    at = now()
    found = stores.due(Store.PENDING, at, limit + 1)
    if len(found) > limit:
        fresh = limit // FRESH_SHARE
        newest = stores.due(Store.PENDING, at, fresh, newest=True) if fresh else []
        found = [*found[: limit - fresh], *reversed(newest)]
    read = [(entry_in(state), state) for state in found]
    return {job.key: (job, state) for job, state in read}.values()  # a job may have changed between the two reads
