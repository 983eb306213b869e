"""Rows of everything but jobs, for the scenes that pages are looked at with."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Table, delete, insert, update

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.filters import JobFilter
from workers.domain.names import SYSTEM_QUEUES
from workers.services import alerting, bulk_actions, rules, schedules
from workers.services.conditions import Found
from workers.services.statistics import minute_of
from workers.store import alerts
from workers.store.jobs import JOBS
from workers.store.models import Base, BulkAction, HealthMetric, JobMinute, Queue, Worker
from workers.store.monitor_models import JobHistogram, Sweep
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")


@dataclass(frozen=True)
class Names:
    """What the rows of a scene are called."""

    tasks: Sequence[str]
    queues: Sequence[str]
    messages: Sequence[str]  # of running jobs
    error: str
    schedules: Sequence[str]
    trigger: str
    alerts: Sequence[tuple[str, str]]  # title and detail
    payload: Mapping[str, Any]


def table_of(model: type[Base]) -> Table:
    """Return the table of a model."""
    return cast(Table, model.__table__)


def add(yard: Yard, model: type[Base], rows: list[dict[str, Any]]) -> None:
    """Insert rows."""
    with yard.database.write() as connection:
        connection.execute(insert(table_of(model)), rows)


def add_workers(yard: Yard, names: Names, now: datetime, job_id: str) -> None:
    """Insert workers of one host, also those of the reserved queues."""
    state = {"host": "shop-1", "queues": json.dumps(list(names.queues)), "started_at": now - timedelta(hours=3)}
    numbers = {"heartbeat_at": now, "jobs_done": 412, "jobs_failed": 7, "cpu_percent": 12.5, "memory_bytes": 91_000_000}
    rows: list[dict[str, Any]] = [
        {
            "name": f"shop-1.{n}",
            "pid": 100 + n,
            **state,
            **numbers,
            "state": "busy" if n < 3 else "idle",
            "job_id": job_id if n == 1 else None,
        }
        for n in range(1, 5)
    ]
    rows[3]["name"] = names.trigger.replace(" ", "-")[:100] + ".4"
    rows += [
        {
            "name": f"shop-1.{n}",
            "pid": 100 + n,
            **state,
            **numbers,
            "queues": f'["{queue}"]',
            "state": "idle",
            "job_id": None,
        }
        for n, queue in enumerate(sorted(SYSTEM_QUEUES), 5)
    ]
    add(yard, Worker, rows)


def add_history(yard: Yard, names: Names, now: datetime, chance: random.Random) -> None:
    """Insert an hour of counts, durations, measurements and sweeps."""
    minute = minute_of(now)
    with yard.database.write() as connection:  # what the triggers have counted for the rows above
        for model in (JobMinute, JobHistogram):
            connection.execute(delete(table_of(model)))
    places = [(queue, names.tasks[n % len(names.tasks)], n) for n, queue in enumerate(names.queues)]
    add(yard, JobMinute, [
        {"minute": minute - back, "queue": queue, "task": task, "slot": 0, "completed": chance.randint(4, 12) // (n + 1),
         "failed": int(chance.random() < 0.05), "retried": 0, "canceled": 0, "run_ms": 9_000, "wait_ms": 900}
        for back in range(60) for queue, task, n in places
    ])  # fmt: skip
    add(yard, JobHistogram, [
        {"minute": (minute - back) // 5 * 5, "queue": queue, "task": task, "kind": kind, "bucket": 20 + n + back % 4, "slot": 0, "n": 5}
        for back in range(0, 60, 5) for queue, task, n in places for kind in ("run", "wait")
    ])  # fmt: skip
    add(yard, HealthMetric, [
        {"minute": minute - back, "queue_length": 6 + back % 5, "processing_count": 4, "failed_last_hour": 3, "oldest_wait_seconds": 4.0 + back % 9,
         "workers_busy": 2, "workers_total": 4, "cpu_percent": 20.0 + back % 13, "memory_percent": 41.0, "disk_percent": 55.0, "database_bytes": 12_000_000}
        for back in range(60)
    ])  # fmt: skip
    counts = dict.fromkeys(("reset", "failed", "requeued", "promoted", "workers_lost"), 0)
    add(yard, Sweep, [{"at": now - timedelta(seconds=30 * n), "took_ms": 12, **counts} for n in range(10)])


def add_schedules(yard: Yard, names: Names) -> str:
    """Create four schedules; the id of the second."""
    crons = ("0 6 1 * *", "*/5 * * * *", "30 2 * * *", "0 9 * * mon-fri")
    made = [
        schedules.create(yard, {"name": name, "task": names.tasks[n % len(names.tasks)], "cron": cron}, ADA)["id"]
        for n, (name, cron) in enumerate(zip(names.schedules, crons, strict=True))
    ]
    return str(made[1])


def add_bulk_action(yard: Yard, now: datetime) -> str:
    """Insert a bulk action that has ended, with the job that did it."""
    made = bulk_actions.create(yard, "retry", JobFilter(q="nothing like it"), None, ADA)
    ended = {"status": "completed", "completed_at": now, "started_at": now, "run_ms": 900, "worker": "shop-1.5"}
    with yard.database.write() as connection:
        actions = table_of(BulkAction)
        done = {"status": "completed", "total": 12, "done": 12, "ended_at": now}
        connection.execute(update(actions).where(actions.c.id == made["id"]).values(**done))
        connection.execute(update(JOBS).where(JOBS.c.id == made["job_id"]).values(**ended))
    return str(made["id"])


def add_alerts(yard: Yard, names: Names) -> str:
    """Raise two alerts; the id of one."""
    rules.ensure(yard)
    with yard.database.write() as connection:
        for kind, (title, detail) in zip(("rule-cpu", "rule-disk"), names.alerts, strict=True):
            rule: Any = alerts.rule(connection, kind)
            found = Found(about=title[:100], title=title, detail=detail, link="/jobs", value=93.0)
            alerting.observe(connection, yard, {rule["id"]: (rule, [found])}, utcnow())
        return str(alerts.open_alerts(connection)[0]["id"])


def pause(yard: Yard, queue: str, now: datetime) -> None:
    """Pause a queue."""
    with yard.database.write() as connection:
        queues = table_of(Queue)
        connection.execute(update(queues).where(queues.c.name == queue).values(paused_at=now, paused_by="ada"))
