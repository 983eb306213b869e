"""Why a job is not running, from what really is in the database, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import event

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import execution, explanations, jobs, queues
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.services.statistics import Minute, rate_of_last_minute
from workers.store import workers as worker_rows
from workers.yard import Yard


def work(yard: Yard, name: str, served: list[str], at: datetime | None = None) -> None:
    """Register a worker that is idle, as far as its last heartbeat knows."""
    moment = at or utcnow()
    row = {"name": name, "host": "web-1", "pid": 1, "queues": json.dumps(served), "state": "idle"}
    with yard.database.write() as connection:
        worker_rows.register(connection, {**row, "job_id": None, "started_at": moment, "heartbeat_at": moment})


def enqueue(yard: Yard, queue: str, **how: Any) -> str:
    return jobs.enqueue(yard, NewJob("samples.noop", queue=queue, **how)).job_id


def run(yard: Yard, queue: str, worker: str) -> str:
    made = enqueue(yard, queue)
    execution.begin(yard, made, 1, worker)
    return made


def explain(yard: Yard, job_id: str, now: datetime | None = None) -> dict[str, Any]:
    with yard.database.read() as connection:
        row = jobs.get(connection, job_id)
        return explanations.explain(connection, row, now or utcnow(), yard.settings.heartbeat_seconds)


def test_workers_that_are_busy_elsewhere_are_busy(yard: Yard) -> None:
    for number in range(4):
        work(yard, f"w{number}", ["*"])
        run(yard, "exports", f"w{number}")
    waiting = [enqueue(yard, "reports") for _ in range(29)]
    told = explain(yard, waiting[-1])
    facts = told["facts"]
    assert (facts["workers"], facts["busy"], facts["busy_elsewhere"], facts["ahead"]) == (4, 4, 4, 28)
    assert "28 jobs are ahead of it on reports; none ended there in the last minute." in told["sentence"]
    assert "Every worker of reports is busy (4 of 4), 4 with jobs of other queues" in told["sentence"]
    assert "about" not in told["sentence"]


def test_what_ended_in_this_very_minute_counts(yard: Yard) -> None:
    with time_machine.travel(utcnow().replace(second=2), tick=True):
        work(yard, "w", ["reports"])
        for _ in range(5):
            made = run(yard, "reports", "w")
            execution.end(yard, made, 1, Ending("completed", result="1"))
        waiting = [enqueue(yard, "reports") for _ in range(4)]
        told = explain(yard, waiting[-1])
    assert told["facts"]["rate_per_minute"] == pytest.approx(5, abs=0.01)
    assert "less than a minute at the rate of the last minute (5 jobs)" in told["sentence"]


@pytest.mark.parametrize(
    ("ended", "second", "rate"),
    [([0, 1435], 1, 1435), ([600, 0], 30, 300), ([600, 0], 0, 600), ([600, 10], 45, 160), ([900, 0, 0], 5, 0), ([], 5, 0)],
)  # fmt: skip
def test_the_rate_is_that_of_the_last_sixty_seconds(ended: list[int], second: int, rate: float) -> None:
    now = datetime.fromisoformat(f"2026-01-31T08:00:{second:02}+00:00")
    assert rate_of_last_minute([Minute(n, done) for n, done in enumerate(ended)], now) == pytest.approx(rate)


def test_a_worker_that_was_lost_does_not_listen(yard: Yard) -> None:
    work(yard, "w", ["reports"], utcnow() - timedelta(minutes=5))
    told = explain(yard, enqueue(yard, "reports"))
    assert told["sentence"].startswith("No worker listens to reports. 1 worker of this queue is lost.")


def test_a_paused_queue_without_workers_names_both(yard: Yard, operator: Actor) -> None:
    made = enqueue(yard, "reports")
    queues.pause(yard, "reports", operator)
    told = explain(yard, made)
    assert [cause.split(" ")[:2] for cause in told["causes"]] == [["The", "queue"], ["No", "worker"]]


def test_a_task_that_no_worker_has_published_is_named(yard: Yard) -> None:
    work(yard, "w", ["*"])
    made = enqueue(yard, "reports")
    with yard.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET task = 'shop.gone'")
    assert "No worker has published the task shop.gone." in explain(yard, made)["sentence"]


def test_a_job_that_is_delayed_says_until_when(yard: Yard) -> None:
    due = utcnow() + timedelta(hours=1)
    told = explain(yard, enqueue(yard, "reports", scheduled_for=due))
    assert f"The job is scheduled for {due:%Y-%m-%d %H:%M:%S} UTC" in told["sentence"]
    late = explain(yard, told_id(yard), due + timedelta(minutes=2))
    assert "2 min ago, but no scheduler has moved it to reports" in late["sentence"]


def told_id(yard: Yard) -> str:
    with yard.database.read() as connection:
        return str(connection.exec_driver_sql("SELECT id FROM jobs").scalar_one())


def test_jobs_that_wait_on_other_queues_of_the_same_workers_are_named(yard: Yard, operator: Actor) -> None:
    work(yard, "w", ["reports", "exports"])
    run(yard, "exports", "w")
    for queue in ("exports", "exports", "imports"):
        enqueue(yard, queue)
    made = enqueue(yard, "reports")
    assert explain(yard, made)["facts"]["waiting_elsewhere"] == 2
    queues.pause(yard, "exports", operator)
    assert explain(yard, made)["facts"]["waiting_elsewhere"] == 0


def test_a_redis_that_cannot_be_reached_is_named(yard: Yard) -> None:
    made = enqueue(yard, "reports")
    with yard.database.read() as connection:
        told = explanations.explain(connection, jobs.get(connection, made), utcnow(), 1.0, "Redis is read-only.")
    assert told["sentence"].startswith("Redis is read-only.")


@contextmanager
def counting(yard: Yard) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(yard.database.engine, "before_cursor_execute", note)
    yield statements
    event.remove(yard.database.engine, "before_cursor_execute", note)


def test_the_number_of_statements_does_not_grow(yard: Yard) -> None:
    made = enqueue(yard, "reports", priority="low")
    with counting(yard) as few:
        explain(yard, made)
    for number in range(5):
        work(yard, f"w{number}", ["*"])
        run(yard, f"q{number}", f"w{number}")
        for priority in ("high", "normal", "low"):
            enqueue(yard, "reports", priority=priority)
            enqueue(yard, f"q{number}", priority=priority)
    last = enqueue(yard, "reports", priority="low")
    with counting(yard) as many:
        assert explain(yard, last)["facts"]["ahead"] == 16
    assert len(many) == len(few) <= 12
