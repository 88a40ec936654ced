"""Kill or freeze a worker's process: no order is lost, and none is cancelled twice."""

from datetime import timedelta
from pathlib import Path

from lapse import Deadline, open_timer
from lapse.testing.servers import RedisServer
from tests.engine.running import ago, unfinished, wait_until
from tests.engine.shop_floor import Floor


def test_killed_in_the_middle_of_a_batch(shared_redis: RedisServer, tmp_path: Path) -> None:
    """Workers are killed before, amid and after their effects; those that are left do the rest, each order once."""
    floor = Floor(tmp_path)
    total = 600
    with open_timer(shared_redis.url, name="killed") as timer:
        timer.arm([Deadline(str(number), ago(100)) for number in range(total)])
        for seconds in (0, 0.05, 60):
            with floor.worker(shared_redis.url, name="killed", seconds=seconds, lease=0.5, batch=50) as doomed:
                wait_until(lambda: "handling" in doomed.output)
                doomed.kill()
                assert doomed.exit_code() == 137
        assert unfinished(timer) > 0
        with (
            floor.worker(shared_redis.url, name="killed", lease=0.5, batch=50),
            floor.worker(shared_redis.url, name="killed", lease=0.5, batch=50),
        ):
            wait_until(lambda: floor.cancelled() == total)
            wait_until(lambda: not unfinished(timer))
    assert floor.stock() == total
    assert floor.attempts() > 1  # what the killed ones held came again


def test_a_frozen_worker_comes_back_with_a_stale_token(shared_redis: RedisServer, tmp_path: Path) -> None:
    """Frozen for longer than its lease, it changes nothing of what others hold by now, and its effects come once."""
    floor = Floor(tmp_path)
    with open_timer(shared_redis.url, name="frozen") as timer:
        timer.arm([Deadline(str(number), ago(5)) for number in range(10)])
        with floor.worker(shared_redis.url, name="frozen", seconds=0.5, lease=0.5) as worker:
            wait_until(lambda: "handling 10" in worker.output)
            worker.freeze()
            wait_until(lambda: timer.stats().due == 10)
            mine = timer.claim(lease=timedelta(minutes=10))
            assert {claim.attempt for claim in mine} == {2}
            worker.thaw()
            wait_until(lambda: "batch handled" in worker.output)
            assert timer.stats().claimed == 10
            assert timer.settle(mine) == 10
            assert floor.stock() == 10
            assert timer.stats().pending == 0
