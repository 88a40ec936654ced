from datetime import UTC, datetime, timedelta

from lapse import Claim, Deadline, Worker, open_timer

timer = open_timer("redis://localhost:6379/0", name="orders")
timer.arm([Deadline(key="1001", due_at=datetime.now(UTC) + timedelta(seconds=2))])


def cancel(claims: list[Claim]) -> None:
    for claim in claims:  # in a shop: one conditional update for the whole batch
        print(f"order {claim.key} is due")


Worker(timer, cancel).run()  # until Ctrl-C or SIGTERM
