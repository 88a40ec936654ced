"""The keys that Alipay signs with: a plain key, or one for each of its certificates."""

import re
import threading
from collections.abc import Callable, Mapping, Sequence

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.errors import LapseError
from lapse.gateways.alipay.keys import PublicKey
from lapse.gateways.alipay.signing import is_signed

PAUSE = 10.0
"""Seconds without another download after one that failed, and between two questions: strangers send notifies, too."""

_SERIAL = re.compile(r"[0-9a-f]{32}")


class UnknownSigner(LapseError):
    """A message names a certificate of Alipay that is not known and could not be had."""


class Signers:
    """Alipay's public keys by the serial numbers of their certificates; a plain key has "". Threads may share it.

    Alipay announces a new certificate by signing with it. `download` returns the key of another certificate, after it
    has verified the certificate. `ask` makes a call whose answer names Alipay's present certificate.
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
        self._downloading, self._asking = threading.Lock(), threading.Lock()
        self._next_download_at = self._next_question_at = clock.monotonic()

    def have_signed_answer(self, texts: Sequence[bytes], signature: str, serial: str) -> bool:
        """Return whether Alipay has signed one of the texts, which is the answer to a call of this shop.

        `serial` names the certificate, which is downloaded if it is new. Raises UnknownSigner.
        """
        serial = self._checked(serial)
        if signature and serial:
            self._download_new(serial)
        return self._is_by_known(texts, signature, serial)

    def have_signed_message(self, texts: Sequence[bytes], signature: str, serial: str) -> bool:
        """Return whether Alipay has signed one of the texts, which came by itself and may be a stranger's.

        `serial` names the certificate, if the message does. It is not downloaded: a stranger could name certificates
        that do not exist until no other is downloaded. Instead, Alipay is asked for its own. Raises UnknownSigner.
        """
        serial = self._checked(serial)
        if not signature or self._is_by_known(texts, signature, serial):
            return bool(signature)
        if serial not in self._keys:
            self._ask_alipay()
        if serial and serial not in self._keys:
            raise UnknownSigner(f"certificate {serial!r} of Alipay is not known")
        return self._is_by_known(texts, signature, serial)

    def _checked(self, serial: str) -> str:
        """Return the serial number, "" in the mode of a plain key. Raises UnknownSigner for a text that is none."""
        if self._download is None:
            return ""
        if serial and not _SERIAL.fullmatch(serial):
            raise UnknownSigner(f"certificate {serial[:32]!r} of Alipay is not known: that is no serial number")
        return serial

    def _is_by_known(self, texts: Sequence[bytes], signature: str, serial: str) -> bool:
        """Return whether the key of the certificate has signed one of the texts; any key, where `serial` is ""."""
        keys = [key for number, key in [*self._keys.items()] if serial in ("", number)]
        return any(is_signed(key, text, signature) for key in keys for text in texts)

    def _ask_alipay(self) -> None:
        """Let Alipay name its present certificate, not too often. No other thread waits: strangers could hold all."""
        with self._asking:
            now = self._clock.monotonic()
            if now < self._next_question_at:
                return
            self._next_question_at = now + PAUSE
        if self._ask:
            self._ask()

    def _download_new(self, serial: str) -> None:
        with self._downloading:  # the other threads wait for the same download
            if self._download is None or serial in self._keys:
                return
            unknown = f"certificate {serial!r} of Alipay is not known"
            if self._clock.monotonic() < self._next_download_at:
                raise UnknownSigner(f"{unknown}; a download has just failed")
            try:
                self._keys[serial] = self._download(serial)
            except LapseError as error:
                self._next_download_at = self._clock.monotonic() + PAUSE
                raise UnknownSigner(f"{unknown}: {error}") from error
