"""Where it was measured: what stands above the rows. Nothing here names the host or a path."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from lapse.config import MECHANISMS

CHECKOUT = Path(__file__).parents[1]
GIB = 1 << 30


def header(places: Mapping[str, str], form: str) -> dict[str, object]:
    """Return when, where and with what was measured. `places` has the server of each mechanism."""
    return {
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "form": form,
        "revision": _revision(),
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB),
            "system": f"{platform.system()} {platform.release().split('-')[0]}",
        },
        "python": platform.python_version(),
        "libraries": _libraries(),
        "places": dict(places),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)):
        return " ".join(re.sub(r"\((R|TM)\)", "", found[1]).split())
    return platform.processor() or platform.machine()


def _revision() -> str:
    """Return the commit, marked where the code differs from it. Results and pages may differ: the run writes them."""
    try:
        short = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{short} with changes" if changed else short


def _git(*words: str) -> str:
    command = ["git", "-C", str(CHECKOUT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed words


def _libraries() -> dict[str, str]:
    """Return the versions of the libraries that the mechanisms' extras name."""
    extras = "|".join(sorted({extra for _, several in MECHANISMS.values() for extra in several.split(",") if extra}))
    found: dict[str, str] = {}
    for wanted in requires("lapse") or []:
        if re.search(rf"extra == ['\"]({extras})['\"]", wanted):
            name, more = re.fullmatch(r"([\w.-]+)(?:\[([\w,.-]+)\])?.*", wanted).groups()  # type: ignore[union-attr] # every requirement begins so
            for library in [name, *(more.split(",") if more else [])]:
                try:
                    found[library] = version(library)
                except PackageNotFoundError:
                    continue  # the name of an extra that is no library
    return dict(sorted(found.items()))
