"""The two key pairs of a run with the simulator, the shop's and the simulator's: made once and kept."""

from dataclasses import dataclass
from pathlib import Path

from lapse.testing.alipay import new_key_pair
from lapse.testing.alipay.keys import pair_of
from shop.running.secrets_file import write_private


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """One pair as two PEM files, which only their owner can read."""

    private: Path
    public: Path


def load_or_make(folder: Path, name: str) -> KeyFiles:
    """Return the pair of that name, made if it is missing. Raises OSError, or ConfigError for a file that is no key."""
    files = KeyFiles(folder / f"{name}_private.pem", folder / f"{name}_public.pem")
    folder.mkdir(parents=True, exist_ok=True)
    if not files.private.exists():
        write_private(files.private, new_key_pair().private)
    # Written again each time: it follows from the private key, and a run may have been killed between the two files.
    write_private(files.public, pair_of(files.private.read_text(encoding="utf-8")).public)
    return files
