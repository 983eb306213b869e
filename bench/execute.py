"""No-op jobs per second of one worker, beside the stock RQ worker in the same run: `python -m bench.execute`.

The time runs from the first job's start to the last one's end, as each side keeps it. `--celery` takes a Python that has
Celery with its Redis parts: then a Celery worker with results and events runs in turns with the others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from rq import Queue
from rq.job import Job
from sqlalchemy import func, select

from bench._common import ROOT, our_worker, rounds, running, stock_redis, stock_worker, tell, wait_for, yard
from bench._noop import noop
from workers.services.jobs import NewJob, enqueue_many
from workers.store.jobs import JOBS
from workers.yard import Yard

WARM_UP = 20


def ours(yard: Yard, count: int) -> float:
    """Run `count` jobs by a Taskyard worker; jobs per second."""
    ids = [one.job_id for one in enqueue_many(yard, [NewJob("samples.noop")] * (count + WARM_UP))][WARM_UP:]
    first, last = JOBS.c.id >= min(ids), JOBS.c.id <= max(ids)
    chosen = select(func.count(), func.min(JOBS.c.started_at), func.max(JOBS.c.completed_at)).where(first, last)

    def done() -> bool:
        with yard.database.read() as connection:
            return connection.execute(chosen.where(JOBS.c.status == "completed")).one()[0] == count

    wait_for(done)
    with yard.database.read() as connection:
        _, start, end = connection.execute(chosen).one()
    return count / (end - start).total_seconds()


def stock(yard: Yard, count: int) -> float:
    """Run `count` jobs by RQ's own worker; jobs per second."""
    redis = stock_redis(yard)
    queue = Queue("bench", connection=redis)
    jobs = queue.enqueue_many([Queue.prepare_data(noop) for _ in range(count + WARM_UP)])
    wait_for(lambda: jobs[-1].get_status() == "finished")
    ids = [job.id for job in jobs[WARM_UP:]]
    done = [job for job in Job.fetch_many(ids, redis) if job is not None and job.started_at and job.ended_at]
    start = min(job.started_at for job in done if job.started_at)
    end = max(job.ended_at for job in done if job.ended_at)
    return len(done) / (end - start).total_seconds()


@contextmanager
def celery_worker(yard: Yard, python: str) -> Iterator[None]:
    """Run one Celery worker process with events, when there is a Python for it."""
    if not python:
        yield
        return
    command = [python, "-m", "celery", "-A", "bench._celery_app", "worker", "-c", "1", "-E", "-l", "ERROR"]
    with running(command, {"CELERY_URL": celery_url(yard)}):
        yield


def celery_url(yard: Yard) -> str:
    """Return a database of the same server for Celery."""
    return f"redis+socket://{yard.settings.valkey_socket}?virtual_host=2"


def celery(yard: Yard, python: str, count: int) -> float:
    """Run `count` jobs by Celery; jobs per second."""
    environ = {**os.environ, "CELERY_URL": celery_url(yard)}
    command = [python, "-m", "bench._celery_app", str(count), str(WARM_UP)]
    return float(subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True).stdout)


def main() -> None:
    """Measure the sides in turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--stock-jobs", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--celery", default="", metavar="PYTHON")
    wanted = parser.parse_args()
    with (
        yard() as opened,
        our_worker(opened),
        stock_worker(opened, "bench"),
        celery_worker(opened, wanted.celery),
    ):
        sides = {"taskyard": lambda: ours(opened, wanted.jobs), "rq": lambda: stock(opened, wanted.stock_jobs)}
        if wanted.celery:
            sides["celery"] = lambda: celery(opened, wanted.celery, wanted.jobs)
        found = rounds(wanted.rounds, **sides)
    figures = {f"{name}_jobs_per_second": value for name, value in found.items()}
    figures["ratio"] = found["taskyard"] / found["rq"]
    if wanted.celery:
        figures["celery_ratio"] = found["taskyard"] / found["celery"]
    tell("execute", figures)


if __name__ == "__main__":
    main()
