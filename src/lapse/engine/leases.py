"""Keeps the leases of a batch alive while its handler runs."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from lapse.engine.background import BackgroundThread
from lapse.engine.deadline import Claim
from lapse.engine.errors import TimerError
from lapse.engine.timer import Timer

log = logging.getLogger("lapse")

RENEWALS_PER_LEASE = 3
"""Two renewals may fail before the lease ends."""


class LeaseKeeper:
    """Renews the leases of the held claims, three times per lease, in a separate thread.

    A lease can still end, for example while the process is frozen. Then `on_lost` is called with the claims: other
    workers may hold them by now, so this worker should stop working on them.
    """

    def __init__(self, timer: Timer, lease: timedelta, on_lost: Callable[[list[Claim]], None]) -> None:
        self._timer = timer
        self._lease = lease
        self._on_lost = on_lost
        self._held: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._thread = BackgroundThread(self._run, name="lapse-leases")

    def start(self) -> None:
        """Start renewing."""
        self._thread.ensure()

    def close(self) -> None:
        """Stop renewing. The leases still held run out."""
        self._thread.close(0.0)

    def hold(self, claims: Sequence[Claim]) -> None:
        """Renew the leases of these claims as well from now on.

        If a key is claimed again while an earlier claim on it is held, the earlier lease has ended: that claim is lost.
        """
        with self._lock:
            lost = [self._held[claim.key] for claim in claims if claim.key in self._held] if self._held else []
            self._held.update({claim.key: claim for claim in claims})
        if lost:
            self._on_lost(lost)

    def let_go(self, claims: Sequence[Claim]) -> None:
        """Stop renewing the leases of these claims: their work is done."""
        with self._lock:
            for claim in claims:
                if self._held.get(claim.key) is claim:
                    del self._held[claim.key]

    def let_go_all(self) -> None:
        """Stop renewing all leases."""
        with self._lock:
            self._held.clear()

    def still_held(self, claims: Sequence[Claim]) -> list[Claim]:
        """Return the claims whose leases are, as far as renewals show, still held."""
        with self._lock:
            return [claim for claim in claims if self._held.get(claim.key) is claim]

    def _run(self) -> None:
        while not self._thread.pause(self._lease.total_seconds() / RENEWALS_PER_LEASE):
            with self._lock:
                held = list(self._held.values())
            if held:
                self._renew(held)

    def _renew(self, held: list[Claim]) -> None:
        try:
            kept = {claim.key for claim in self._timer.renew(held, lease=self._lease)}
        except TimerError:
            return  # the next renewal may come through, and the worker's own calls report what is wrong
        except Exception:  # without this thread no long handler would keep its lease, and no log would say so
            log.exception("leases were not renewed; trying again in a third of a lease")
            return
        with self._lock:
            # A claim that was let go meanwhile is settled, so it is right that the timer no longer had it.
            lost = [claim for claim in held if claim.key not in kept and self._held.get(claim.key) is claim]
            for claim in lost:
                del self._held[claim.key]
        if lost:
            self._on_lost(lost)
