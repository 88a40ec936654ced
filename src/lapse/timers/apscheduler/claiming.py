"""Claiming: jobs that are due move from one job store to the other, under a lease."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from lapse.engine.deadline import Claim
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import FRESH_SHARE
from lapse.timers.apscheduler.job import Entry, after, entry, job_id, moment, now
from lapse.timers.apscheduler.stores import MOST_MOVES, Jobs, Place, parts


def end_leases(jobs: Jobs) -> None:
    """Give back what is claimed beyond its lease, as old as it was."""
    moved = {""}
    while moved:
        at = now()
        found = [(entry(state), state) for state in jobs.due(Place.CLAIMED, at, MOST_MOVES)]
        moved = jobs.move(
            [
                replace(one, run_at=one.due, token=0).move(Place.CLAIMED, state, Place.PENDING)
                for one, state in found
                if one.run_at is not None and one.run_at <= at
            ]
        )


def claim_due(jobs: Jobs, limit: int, token: int, lease: timedelta) -> list[Claim]:
    """Claim up to `limit` of what is due; fewer where others arm or disarm them this very moment."""
    claims: list[Claim] = []
    for part in parts(_oldest(jobs, limit)):
        at, end = now(), after(lease)
        moves = [
            replace(one, run_at=end, attempt=one.attempt + 1, token=token).move(Place.PENDING, state, Place.CLAIMED)
            for one, state in part
            if one.run_at is not None and one.run_at <= at  # the index may be older than the job
        ]
        try:
            moved = jobs.move(moves)
        except TimerUnavailable:
            if not claims:
                raise
            break  # what was claimed before is held: its lease runs
        claims += [
            Claim(one.key, moment(one.due), one.attempt + 1, token, moment(at), moment(end))
            for one, _ in part
            if job_id(one.key) in moved
        ]
    return claims


def _oldest(jobs: Jobs, limit: int) -> Iterable[tuple[Entry, bytes]]:
    """Read what is due, oldest first; of a backlog a part from its young end."""
    at = now()
    found = jobs.due(Place.PENDING, at, limit + 1)
    if len(found) > limit:
        young = limit // FRESH_SHARE
        newest = jobs.due(Place.PENDING, at, young, newest=True) if young else []
        found = [*found[: limit - young], *reversed(newest)]
    read = [(entry(state), state) for state in found]
    return {one.key: (one, state) for one, state in read}.values()  # one may have moved between the two reads
