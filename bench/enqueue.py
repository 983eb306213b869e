"""Jobs enqueued per second by one process, beside stock RQ in the same run: `python -m bench.enqueue`.

Ours are committed rows with their first event as well as entries in Redis; RQ's are entries in Redis.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from rq import Queue

from bench._common import rounds, stock_redis, tell, yard
from bench._noop import noop
from workers.services.jobs import NewJob, enqueue, enqueue_many
from workers.yard import Yard


def rate(count: int, call: Callable[[], object], of: int = 1) -> float:
    """Return how many jobs a second these calls make."""
    start = time.perf_counter()
    for _ in range(count // of):
        call()
    return count / (time.perf_counter() - start)


def flushed_rate(yard: Yard, count: int, call: Callable[[], object], of: int = 1) -> float:
    """Return how many jobs a second these calls make, until the last one is on its queue."""
    start = time.perf_counter()
    for _ in range(count // of):
        call()
    assert yard.pusher.flush()
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure one by one and a thousand at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with yard() as opened:
        queue, new = Queue("bench", connection=stock_redis(opened)), NewJob("samples.noop")
        many = max(1000, wanted.jobs // 1000 * 1000)
        figures = rounds(
            wanted.rounds,
            taskyard_enqueue=lambda: flushed_rate(opened, wanted.jobs, lambda: enqueue(opened, new)),
            rq_enqueue=lambda: rate(wanted.jobs, lambda: queue.enqueue(noop)),
            taskyard_enqueue_many=lambda: flushed_rate(opened, many, lambda: enqueue_many(opened, [new] * 1000), 1000),
            rq_enqueue_many=lambda: rate(
                many, lambda: queue.enqueue_many([Queue.prepare_data(noop) for _ in range(1000)]), 1000
            ),
        )
    one = figures["taskyard_enqueue"] / figures["rq_enqueue"]
    bulk = figures["taskyard_enqueue_many"] / figures["rq_enqueue_many"]
    tell("enqueue", {**figures, "ratio": one, "bulk_ratio": bulk})


if __name__ == "__main__":
    main()
