"""A history that makes pages work hard: many rows of every kind, and a few that are as large as they may be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import Table, insert, select

from bench import _history
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.ids import new_id
from workers.services import schedules, triggers
from workers.store import jobs
from workers.store.models import Attempt, AuditEntry, Base, JobEvent, JobLog, JobMinute, Queue, Task, Worker
from workers.store.monitor_models import Alert, JobHistogram, Sweep, SweepFinding
from workers.store.schedule_models import Schedule, ScheduleFire
from workers.store.trigger_models import Trigger, TriggerFiring
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
Change = Callable[[int], dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    jobs: int = 3_000
    large_jobs: int = 40
    rows: int = 700  # of queues, schedules, triggers, tasks, workers, alerts
    log_lines: int = 8_000
    children: int = 500


@dataclass(frozen=True)
class History:
    """The ids of what is as large as it may be."""

    job_id: str
    schedule_id: str
    trigger_id: str
    alert_id: str


def fill(yard: Yard, sizes: Sizes) -> History:
    """Fill an empty yard; the ids of the largest rows."""
    _history.fill(yard, sizes.jobs)
    now = utcnow()
    schedule = schedules.create(yard, {"name": "every minute", "task": "samples.noop", "cron": "* * * * *"}, ADA)
    trigger = triggers.create(
        yard, {"name": "a trigger", "kind": "event", "listens": "a.b", "task": "samples.noop"}, ADA
    )
    large = _large_jobs(yard, sizes, now)
    alert_id = _rows_of_pages(yard, sizes, schedule["id"], trigger["id"], now)
    _rows_of_job(yard, sizes, large, now)
    _minutes(yard, sizes)
    return History(large, schedule["id"], trigger["id"], alert_id)


def _table(model: type[Base]) -> Table:
    return cast(Table, model.__table__)


def _add(yard: Yard, model: type[Base], count: int, row: Change) -> None:
    with yard.database.write() as connection:
        for first in range(0, count, 2_000):
            connection.execute(insert(_table(model)), [row(n) for n in range(first, min(first + 2_000, count))])


def _copy(yard: Yard, model: type[Base], count: int, change: Change) -> None:
    """Insert copies of the first row of a table."""
    with yard.database.read() as connection:
        first = dict(connection.execute(select(_table(model)).limit(1)).mappings().one())
    _add(yard, model, count, lambda n: {**first, **change(n)})


def _large_jobs(yard: Yard, sizes: Sizes, now: Any) -> str:
    nodes = {"rows": [{"n": n, "https://": "a=b"} for n in range(28_000)]}
    text = json.dumps({"text": "lorem ipsum password: " * 45_000})
    frames = '  File "/app/tasks.py", line 7, in run\n    return compute(value)\n' * 900
    rows = []
    for n in range(sizes.large_jobs):
        row = jobs.blank()
        row.update(
            id=new_id(now - timedelta(seconds=n)),
            task="samples.noop",
            queue="default",
            priority="normal",
            payload=json.dumps(nodes, separators=(",", ":")) if n % 2 == 0 else text,
            result=json.dumps(nodes, separators=(",", ":")) if n % 2 == 0 else text,
            error="token=" * 600,
            traceback="Traceback (most recent call last):\n" + frames + "ValueError: no",
            status="failed",
            attempt=200,
            max_retries=300,
            timeout_seconds=60.0,
            created_at=now,
            updated_at=now,
            created_by="tests",
        )
        rows.append(row)
    with yard.database.write() as connection:
        jobs.add(connection, rows)
    return str(rows[0]["id"])


def _rows_of_job(yard: Yard, sizes: Sizes, job_id: str, now: Any) -> None:
    line = "key: value=1 " * 38
    _add(
        yard,
        JobLog,
        sizes.log_lines,
        lambda n: {"job_id": job_id, "attempt": 1, "at": now, "level": "info", "line": line},
    )
    traceback = "Traceback (most recent call last):\n" + '  File "/app/tasks.py", line 7, in run\n' * 1_500
    _add(
        yard,
        Attempt,
        300,
        lambda n: {"job_id": job_id, "attempt": n + 1, "worker": "w", "started_at": now, "ended_at": now,
                   "outcome": "failed", "error": "x" * 4_000, "traceback": traceback},
    )  # fmt: skip
    detail = json.dumps({"error": "password=x " * 300})
    _add(
        yard,
        JobEvent,
        3_000,
        lambda n: {"job_id": job_id, "at": now, "event": "retried", "attempt": 1, "actor": "a", "detail": detail},
    )
    children = []
    for _ in range(sizes.children):
        row = jobs.blank()
        row.update(id=new_id(), task="samples.noop", queue="default", priority="normal", payload="{}", status="pending",
                   parent=job_id, max_retries=0, timeout_seconds=60.0, created_at=now, updated_at=now)  # fmt: skip
        children.append(row)
    with yard.database.write() as connection:
        jobs.add(connection, children)


def _rows_of_pages(yard: Yard, sizes: Sizes, schedule_id: str, trigger_id: str, now: Any) -> str:
    n_rows = sizes.rows
    _copy(yard, Queue, n_rows, lambda n: {"name": f"queue-{n}"})
    _copy(yard, Task, n_rows, lambda n: {"name": f"many.task_{n}"})
    crons = ("* * * * *", "*/5 8-17 * * mon-fri", "0 0 29 2 *", "17 3 1,15 * *")
    _copy(
        yard,
        Schedule,
        n_rows,
        lambda n: {"id": new_id(), "name": f"schedule {n}", "cron": crons[n % 4], "declared_by": None},
    )
    _copy(yard, Trigger, n_rows, lambda n: {"id": new_id(), "name": f"trigger {n}"})
    _add(
        yard,
        Worker,
        min(n_rows, 300),
        lambda n: {"name": f"worker-{n}", "host": f"host-{n % 9}", "pid": n, "queues": '["default"]', "state": "idle",
                   "started_at": now, "heartbeat_at": now, "jobs_done": 0, "jobs_failed": 0},
    )  # fmt: skip
    alert_ids = [new_id() for _ in range(n_rows)]
    _add(
        yard,
        Alert,
        n_rows,
        lambda n: {"id": alert_ids[n], "kind": "failure_rate", "cause": f"cause {n}", "status": "firing",
                   "severity": "warning", "title": "A title", "detail": "d" * 500, "link": "/", "value": 1.0,
                   "threshold": 1.0, "first_at": now, "last_at": now, "count": 1, "flaps": 0, "history": "[]"},
    )  # fmt: skip
    _add(yard, AuditEntry, n_rows * 5, lambda n: {"at": now, "actor_kind": "user", "actor": "ada", "action": "a.b",
         "target_kind": "job", "target_id": "x", "before": "{}", "after": '{"a":1}'})  # fmt: skip
    _add(yard, Sweep, n_rows * 2, lambda n: {"at": now - timedelta(minutes=n), "took_ms": 3, "reset": 0, "failed": 0,
         "requeued": 0, "promoted": 0, "workers_lost": 0})  # fmt: skip
    _add(yard, SweepFinding, n_rows, lambda n: {"at": now, "job_id": new_id(), "task": "samples.noop", "attempt": 1,
         "verdict": "silent", "sentence": "s", "evidence": "{}", "done": "reset", "actor": "monitor"})  # fmt: skip
    _add(yard, ScheduleFire, n_rows * 2, lambda n: {"schedule_id": schedule_id, "fire_at": now - timedelta(minutes=n),
         "late_ms": 5, "at": now, "outcome": "fired", "missed_count": 0})  # fmt: skip
    _add(yard, TriggerFiring, n_rows * 2, lambda n: {"id": new_id(), "trigger_id": trigger_id, "at": now,
         "outcome": "fired", "facts": '{"name": "a.b"}', "depth": 0})  # fmt: skip
    return alert_ids[0]


def _minutes(yard: Yard, sizes: Sizes) -> None:
    minute = int(utcnow().timestamp() // 60)
    queues, tasks = 10, 10
    count = min(sizes.rows * 100, 100_000)

    def key(n: int) -> dict[str, Any]:
        back, rest = divmod(n, queues * tasks)
        return {"minute": minute - back - 1, "queue": f"queue-{rest % queues}", "task": f"many.task_{rest // queues}"}

    _add(yard, JobMinute, count, lambda n: {**key(n), "slot": 99, "completed": 1, "failed": 1})
    _add(yard, JobHistogram, count, lambda n: {**key(n), "kind": "run", "bucket": n % 40, "slot": 99, "n": 1})
