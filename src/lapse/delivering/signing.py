"""Signs messages, by the Standard Webhooks specification."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from lapse.engine.errors import ConfigError, MissingLibrary

try:
    from standardwebhooks.webhooks import Webhook as Signing
except ModuleNotFoundError as missing:
    raise MissingLibrary("lapse.delivering", "watch") from missing

PREFIX = "whsec_"
LEAST_BYTES = 24
"""The minimum size of a secret, set by the specification. Shorter secrets can be guessed."""

HOW = "make a secret with: echo whsec_$(openssl rand -base64 32)"


class Signer:
    """Signs with one secret, or with several at once while a new secret replaces an old one.

    A secret is base64, with or without `whsec_` before it. Raises ConfigError for anything else.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise ConfigError(f"there is no secret to sign with; {HOW}")
        self._signing = [Signing(_checked(secret)) for secret in secrets]

    @classmethod
    def from_text(cls, text: str) -> "Signer":
        """Return a signer with the secrets in a text, separated by white space."""
        return cls(text.split())

    @classmethod
    def from_file(cls, path: Path) -> "Signer":
        """Return a signer with the secrets in a file."""
        try:
            return cls.from_text(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read the secret from {path}: {error}") from error

    def headers(self, message: str, at: datetime, body: str) -> dict[str, str]:
        """Return the three headers that prove who sent this body and when."""
        return {
            "webhook-id": message,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signing.sign(message, at, body) for signing in self._signing),
        }


def _checked(secret: str) -> bytes:
    """Return the bytes of a secret. The error never shows the secret."""
    text = secret.removeprefix(PREFIX)
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"the webhook's secret is not base64; {HOW}") from None
    if len(found) < LEAST_BYTES:
        raise ConfigError(f"the webhook's secret has {len(found)} bytes, but needs at least {LEAST_BYTES}; {HOW}")
    return found
