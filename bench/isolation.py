"""What a task module that opens connections at import costs and risks: `python -m bench.isolation`.

Four workers run jobs that ask an HTTP client, a SQL engine, a Redis client and a sender thread, all opened at import, for
a number of their own; answers that belong to another job are counted. Memory and start of both ways to import are
measured with the same module; preloaded it runs no jobs, because its thread and its connections do not survive the fork
(that is what the warning of `PRELOAD=1` names). `--database` takes the address of a PostgreSQL database; SQLite without it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import func, select

from bench._common import tell, wait_for
from bench.startup import Whole
from tests.integration.echo_server import echo_server
from workers.services.enqueueing import NewJob, enqueue_many
from workers.settings import Settings
from workers.store.jobs import JOBS
from workers.yard import Yard

MODULE = "tests.integration.opening_tasks"
IDLE_SECONDS = 5.0


def measure(jobs: int, database: str, preload: bool) -> dict[str, float]:
    """Run one Taskyard with four workers; its start in seconds, its memory in MB, wrong answers and failed jobs."""
    with tempfile.TemporaryDirectory(prefix="taskyard-bench-") as name, echo_server() as echo:
        folder = Path(name) / "data"
        os.environ |= {"DATA_DIR": str(folder), "WORKERS": "4", "PRELOAD": str(int(preload)), "TASK_MODULES": MODULE}
        settings = Settings.from_env()
        os.environ |= {
            "ECHO_URL": echo,
            "OWN_DATABASE_URL": database or f"sqlite:///{name}/own.db",
            "OWN_REDIS_URL": settings.effective_redis_url,
            "STOP_MARKS": f"{name}/stopped",
        }
        began = time.perf_counter()
        whole = Whole(folder)
        try:
            wait_for(whole.serves)
            start = time.perf_counter() - began
            figures = _run(jobs) if not preload else {}
            time.sleep(IDLE_SECONDS)
            memory = whole.memory()
        finally:
            whole.stop()
    return {"start_seconds": start, **memory, **figures}


def _run(jobs: int) -> dict[str, float]:
    with closing(Yard.open(Settings.from_env())) as yard:
        return _compare(yard, jobs)


def _compare(yard: Yard, jobs: int) -> dict[str, float]:
    began = time.perf_counter()
    enqueue_many(yard, [NewJob(f"{MODULE}.compare", {"number": n}) for n in range(jobs)])
    chosen = select(func.count()).where(JOBS.c.task == f"{MODULE}.compare")

    def done() -> bool:
        with yard.database.read() as connection:
            ended = chosen.where(JOBS.c.status.in_(("completed", "failed")))
            return bool(connection.execute(ended).scalar_one() >= jobs)

    wait_for(done)
    seconds = time.perf_counter() - began
    with yard.database.read() as connection:
        rows = connection.execute(select(JOBS.c.status, JOBS.c.result).where(JOBS.c.task == f"{MODULE}.compare")).all()
    wrong = sum(status == "completed" and json.loads(result) != [] for status, result in rows)
    return {"wrong": wrong, "failed": sum(status == "failed" for status, _ in rows), "seconds": seconds}


def main() -> None:
    """Measure both ways and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--database", default="")
    wanted = parser.parse_args()
    figures = {}
    for label, preload in (("imported_in_the_child", False), ("preloaded", True)):
        found = measure(wanted.jobs, wanted.database, preload)
        figures |= {f"{label}_{name}": value for name, value in found.items()}
    tell("isolation", figures)


if __name__ == "__main__":
    main()
