"""A process that claims due deadlines, prints them and never settles them: tests kill or freeze it.

Arguments: the timer's URL, its name, how many to claim.
"""

import sys
import time
from datetime import timedelta

from lapse import open_timer


def main() -> None:
    """Claim, print each key with its token, and keep the claims."""
    url, name, limit = sys.argv[1:]
    timer = open_timer(url, name=name)
    claims = timer.claim(int(limit), wait=timedelta(seconds=60), lease=timedelta(minutes=10))
    for claim in claims:
        sys.stdout.write(f"{claim.key} {claim.token}\n")
    sys.stdout.write("\n")
    sys.stdout.flush()
    time.sleep(600)


if __name__ == "__main__":
    main()
