"""What the monitor and its numbers cost on a large history: `python -m bench.monitor`.

A sweep over a million rows with nothing stuck, then with ten thousand; a hundred thousand failed jobs retried as one bulk
action; the charts and percentiles of a day in which a million jobs ran, and how much room their roll-ups take.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import insert, text

from bench._common import tell, yard
from bench._history import fill
from dashboard.factory import create_app
from tests.support import sign_in
from workers.domain import histograms
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.filters import JobFilter
from workers.domain.ids import new_id
from workers.services import bulk_actions, history, monitoring, retention, rules, users
from workers.services.history import Span
from workers.services.statistics import minute_of
from workers.store import jobs
from workers.store import queues as queue_rows
from workers.store.models import JobMinute
from workers.store.monitor_models import JobHistogram
from workers.yard import Yard

SYSTEM = Actor("system", "bench", "admin")
PASSWORD = "a password for the bench"
ROUNDS = 9
TASKS = tuple(f"team.task_{n}" for n in range(10))
QUEUES = ("default", "emails", "reports")


def add(yard: Yard, count: int, **columns: Any) -> None:
    """Put jobs of one kind in."""
    now = utcnow()
    with yard.database.write() as connection:
        queue_rows.know(connection, yard.database, ["default"], now)
        for start in range(0, count, 5_000):
            rows = [_row(now, columns) for _ in range(min(5_000, count - start))]
            connection.execute(insert(jobs.JOBS), rows)


def _row(now: datetime, columns: dict[str, Any]) -> dict[str, Any]:
    row = {**jobs.blank(), "id": new_id(now), "task": "samples.noop", "queue": "default", "priority": "normal"}
    row |= {"payload": "{}", "max_retries": 3, "timeout_seconds": 1800.0, "created_at": now, "updated_at": now}
    return row | columns


def sweep_ms(yard: Yard) -> float:
    """Measure a sweep of which nothing comes."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        assert monitoring.sweep(yard).error is None
        times.append(time.perf_counter() - start)
    return median(times) * 1000


def sweep_stuck_seconds(yard: Yard, count: int) -> float:
    """Measure the sweep that puts so many stuck jobs back."""
    old = utcnow() - timedelta(minutes=10)
    add(yard, count, status="processing", worker="gone", started_at=old, heartbeat_at=old, pending_at=old)
    start = time.perf_counter()
    done = monitoring.sweep(yard)
    took = time.perf_counter() - start
    assert done.reset == count, done
    return took


def retry_seconds(yard: Yard, count: int) -> tuple[float, float]:
    """Measure one bulk retry of so many failed jobs, and the slowest Jobs page meanwhile (milliseconds)."""
    add(yard, count, status="failed", task="samples.fail", failed_at=utcnow())
    client = create_app(yard.settings, yard).test_client()
    sign_in(client, "ada", PASSWORD)
    wanted = JobFilter(status=("failed",), task=("samples.fail",))
    pages: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            start = time.perf_counter()
            assert client.get("/jobs?limit=50").status_code == 200
            pages.append(time.perf_counter() - start)
            time.sleep(0.1)

    action = bulk_actions.create(yard, "retry", wanted, None, SYSTEM)
    viewer = threading.Thread(target=look)
    viewer.start()
    start = time.perf_counter()
    done = bulk_actions.work(yard, action["id"], lambda _done, _total: None)
    took = time.perf_counter() - start
    over.set()
    viewer.join()
    assert done["done"] >= count, done
    return took, max(pages) * 1000


def fill_day(yard: Yard, total: int) -> None:
    """Write the roll-ups of a day in which so many jobs ran, as the triggers would have."""
    chance = random.Random(5)
    last = minute_of(utcnow())
    minutes: dict[tuple[int, str, str], int] = {}
    counts: dict[tuple[int, str, str, str, int], int] = {}
    for n in range(total):
        task = chance.randrange(len(TASKS))
        key = (last - n % 1440, QUEUES[task % 3], TASKS[task])
        minutes[key] = minutes.get(key, 0) + 1
        for kind, middle in (("run", 4.0), ("wait", 2.0)):
            bucket = histograms.bucket_of(int(1000 * chance.lognormvariate(0, 0.6) * middle))
            five = (key[0] - key[0] % 5, *key[1:], kind, bucket)
            counts[five] = counts.get(five, 0) + 1
    zero = dict.fromkeys(("failed", "retried", "canceled", "run_ms", "wait_ms"), 0)
    names = ("minute", "queue", "task")
    with yard.database.write() as connection:
        for table in ("job_minutes", "job_histograms"):
            connection.execute(text(f"DELETE FROM {table}"))
        rows = [{**dict(zip(names, key, strict=True)), **zero, "slot": 0, "completed": n} for key, n in minutes.items()]
        connection.execute(insert(JobMinute), rows)
        parts = [
            {**dict(zip((*names, "kind", "bucket"), key, strict=True)), "slot": 0, "n": n} for key, n in counts.items()
        ]
        connection.execute(insert(JobHistogram), parts)


def chart_ms(yard: Yard, *, task: str = "") -> float:
    """Measure the reading of a day's charts: throughput and percentiles in 72 buckets."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        with yard.database.read() as connection:
            span = Span.until(utcnow(), *history.PERIODS["24h"])
            history.throughput(connection, span, task=task)
            history.percentiles(connection, span, task=task)
        times.append(time.perf_counter() - start)
    return median(times) * 1000


def roll_up_mb(yard: Yard) -> float:
    """Tell how much room the roll-ups take."""
    with yard.database.read() as connection:
        chosen = "SELECT sum(pgsize) FROM dbstat WHERE name IN ('job_minutes', 'job_histograms')"
        return float(connection.execute(text(chosen)).scalar_one()) / 1e6


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    wanted = parser.parse_args()
    with yard() as opened:
        users.add(opened, "ada", "admin", PASSWORD, SYSTEM)
        rules.ensure(opened)
        fill(opened, wanted.rows)
        figures = {"rows": wanted.rows, "sweep_ms": sweep_ms(opened)}
        figures["sweep_10000_stuck_seconds"] = sweep_stuck_seconds(opened, 10_000)
        figures["retry_100000_seconds"], figures["slowest_page_meanwhile_ms"] = retry_seconds(opened, 100_000)
        fill_day(opened, 1_000_000)
        while retention.tidy_step(opened, utcnow()):  # as the scheduler does
            pass
        figures["chart_24h_ms"] = chart_ms(opened)
        figures["chart_24h_one_task_ms"] = chart_ms(opened, task=TASKS[0])
        figures["roll_ups_mb"] = roll_up_mb(opened)
    tell("monitor", figures)


if __name__ == "__main__":
    main()
