"""The keys that Alipay signs with: a plain key, or one for each of its certificates."""

import threading
from collections.abc import Callable, Iterable, Mapping

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.errors import LapseError
from lapse.gateways.alipay.keys import PublicKey
from lapse.gateways.alipay.signing import is_signed

PAUSE = 10.0
"""Seconds without another download after one that failed, and between two questions: strangers send notifies, too."""


class UnknownSigner(LapseError):
    """A message names a certificate of Alipay that is not known and could not be had."""


class Signers:
    """Alipay's public keys by the serial numbers of their certificates; a plain key has "". Threads may share it.

    `download` returns the key of another certificate, after it has verified the certificate. Alipay announces a new
    certificate by signing with it. `ask` makes a call whose answer names Alipay's present certificate, because a notify
    need not name it.
    """

    def __init__(
        self,
        keys: Mapping[str, PublicKey],
        download: Callable[[str], PublicKey] | None = None,
        ask: Callable[[], None] | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._keys = dict(keys)
        self._download = download
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._next_download_at = self._next_question_at = clock.monotonic()

    def have_signed(self, texts: Iterable[bytes], signature: str, serial: str) -> bool:
        """Return whether Alipay has signed one of the texts. `serial` names the certificate, if the message does.

        Raises UnknownSigner.
        """
        if not signature:
            return False
        texts = list(texts)
        if serial and self._download:
            key = self._keys.get(serial) or self._downloaded(serial, self._download)
            return _is_by_any([key], texts, signature)
        keys = list(self._keys.values())
        return _is_by_any(keys, texts, signature) or _is_by_any(self._new_keys(len(keys)), texts, signature)

    def _new_keys(self, known: int) -> list[PublicKey]:
        """Ask Alipay for its present certificate, not too often; return the keys beyond the `known` first ones."""
        with self._lock:
            now = self._clock.monotonic()
            may_ask = self._ask is not None and now >= self._next_question_at
            if may_ask:
                self._next_question_at = now + PAUSE
        if may_ask and self._ask:
            self._ask()
        return list(self._keys.values())[known:]

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


def _is_by_any(keys: Iterable[PublicKey], texts: Iterable[bytes], signature: str) -> bool:
    return any(is_signed(key, text, signature) for key in keys for text in texts)
