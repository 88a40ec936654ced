"""The keys that Alipay signs with: a plain key, or one for each of its certificates."""

import threading
from collections.abc import Callable, Iterable, Mapping

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.errors import LapseError
from lapse.gateways.alipay.keys import PublicKey
from lapse.gateways.alipay.signing import is_signed

PAUSE = 10.0
"""Seconds without another download after one that failed: a stranger may name any certificate in a notify."""


class UnknownSigner(LapseError):
    """A message names a certificate of Alipay that is not known and could not be had."""


class Signers:
    """Alipay's public keys by the serial numbers of their certificates; a plain key has "". Threads may share it.

    `download` returns the key of another certificate, after it has verified the certificate. Alipay announces a new
    certificate by signing with it.
    """

    def __init__(
        self,
        keys: Mapping[str, PublicKey],
        download: Callable[[str], PublicKey] | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._keys = dict(keys)
        self._download = download
        self._clock = clock
        self._lock = threading.Lock()
        self._next_download_at = clock.monotonic()

    def have_signed(self, texts: Iterable[bytes], signature: str, serial: str) -> bool:
        """Return whether Alipay has signed one of the texts. `serial` names the certificate, if the message does.

        Raises UnknownSigner.
        """
        if serial and self._download:
            keys = [self._keys.get(serial) or self._downloaded(serial, self._download)]
        else:
            keys = list(self._keys.values())
        return any(is_signed(key, text, signature) for text in texts for key in keys)

    def _downloaded(self, serial: str, download: Callable[[str], PublicKey]) -> PublicKey:
        with self._lock:  # the other threads wait for the same download
            if serial not in self._keys:
                if self._clock.monotonic() < self._next_download_at:
                    raise UnknownSigner(
                        f"certificate {serial[:32]!r} of Alipay is not known; a download has just failed"
                    )
                try:
                    self._keys[serial] = download(serial)
                except LapseError as error:
                    self._next_download_at = self._clock.monotonic() + PAUSE
                    raise UnknownSigner(f"certificate {serial[:32]!r} of Alipay is not known: {error}") from error
            return self._keys[serial]
