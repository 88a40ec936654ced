"""The secrets of one checkout: created by the first run, in a file that only its owner can read."""

import base64
import json
import os
import secrets
from pathlib import Path

MERCHANT = "merchant@shop.example"


def load_or_make(file: Path) -> dict[str, str]:
    """Return the secrets by the names of their environment variables.

    Missing secrets are added to the file, which is written completely or not at all. Raises OSError.
    """
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    wanted = {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "LAPSE_WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "MERCHANT_EMAIL": MERCHANT,
        "MERCHANT_PASSWORD": secrets.token_urlsafe(12),
    }
    if wanted.keys() <= known.keys():
        return known
    complete = wanted | known
    write_private(file, json.dumps(complete, indent=2))
    return complete


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, completely or not at all. Raises OSError."""
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writer:
        writer.write(text)
        writer.flush()
        os.fsync(writer.fileno())
    draft.replace(file)
