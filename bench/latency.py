"""From enqueuing a job to the first line of its task, with an idle worker, beside the stock RQ worker: `python -m bench.latency`.

The sides take turns, one job each, so that a busy moment meets both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles

from rq import Queue

from bench._common import our_worker, stock_redis, stock_worker, tell, wait_for, yard
from bench._first_line import stamp
from workers import loading, registry
from workers.services import publishing
from workers.services.jobs import NewJob, enqueue

MODULE = "bench._first_line_task"
TASK = "bench._first_line.stamp"
PAUSE_SECONDS = 0.05  # in which both workers are idle again


def milliseconds(path: Path, send: Callable[[], object]) -> float:
    """Enqueue a job; return the time until its first line."""
    path.write_text("", encoding="ascii")
    began = time.monotonic_ns()
    send()
    wait_for(lambda: path.read_text(encoding="ascii").endswith("\n"))
    time.sleep(PAUSE_SECONDS)
    return (int(path.read_text(encoding="ascii")) - began) / 1e6


def main() -> None:
    """Measure both sides and print p50 and p99."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    wanted = parser.parse_args()
    ours: list[float] = []
    stock: list[float] = []
    with tempfile.TemporaryDirectory(prefix="taskyard-bench-") as name, yard() as opened:
        path = Path(name) / "first_line"
        loading.load_modules((MODULE,))
        publishing.publish(opened, registry.REGISTRY)
        queue, new = Queue("bench", connection=stock_redis(opened)), NewJob(TASK, {"path": str(path)})
        with our_worker(opened, TASK_MODULES=MODULE), stock_worker(opened, "bench"):
            for _ in range(wanted.jobs + 10):
                ours.append(milliseconds(path, lambda: enqueue(opened, new)))
                stock.append(milliseconds(path, lambda: queue.enqueue(stamp, str(path))))
    figures = {}
    for side, found in (("taskyard", ours[10:]), ("rq", stock[10:])):
        cuts = quantiles(found, n=100)
        figures |= {f"{side}_p50_ms": cuts[49], f"{side}_p99_ms": cuts[98]}
    figures["p50_ratio"] = figures["taskyard_p50_ms"] / figures["rq_p50_ms"]
    figures["p99_ratio"] = figures["taskyard_p99_ms"] / figures["rq_p99_ms"]
    tell("latency", figures)


if __name__ == "__main__":
    main()
