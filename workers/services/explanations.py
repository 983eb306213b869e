"""Gathers the facts for `domain.explain` in a constant number of statements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from workers.domain.clock import rfc3339
from workers.domain.explain import WaitFacts, causes, sentence
from workers.domain.masking import mask_text
from workers.domain.names import SYSTEM_QUEUES
from workers.domain.states import Status
from workers.domain.untrusted import visible
from workers.services import catalogue, statistics
from workers.services import clocks as clock_service
from workers.store import queues, workers
from workers.store.jobs import JOBS
from workers.store.types import Row

_CAP = 10_000
_MOST_RUNNING = 1_000
_BEFORE = {"high": ("high",), "normal": ("high", "normal"), "low": ("high", "normal", "low")}


def explain(
    connection: Connection, job: Row, now: datetime, heartbeat_seconds: float = 15.0, redis_trouble: str | None = None
) -> dict[str, Any]:
    """Say why a job is not running, with the facts behind it: `{sentence, causes, facts}`.

    `redis_trouble` is what keeps jobs waiting for Redis, if anything does.
    """
    facts = _facts(connection, job, now, heartbeat_seconds, redis_trouble)
    told = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in asdict(facts).items()}
    return {"sentence": sentence(facts), "causes": causes(facts), "facts": told}


def _facts(connection: Connection, job: Row, now: datetime, heartbeat_seconds: float, trouble: str | None) -> WaitFacts:
    status = Status(job["status"])
    row = queues.get(connection, job["queue"])
    basic = {
        "status": status,
        "queue": job["queue"],
        "now": now,
        "task": job["task"],
        "task_is_known": catalogue.is_published(connection, job["task"]),
        "due_at": job["due_at"],
        "schedule": job["schedule"],
        "attempt": job["attempt"],
        "max_retries": job["max_retries"],
        "error": visible(mask_text(job["error"])) if job["error"] else None,
        "paused_at": row["paused_at"] if row else None,
        "paused_by": row["paused_by"] if row else None,
    }
    if status != Status.PENDING:
        return WaitFacts(**basic)
    ahead = _ahead(connection, job)
    history = statistics.minutes(connection, now - timedelta(minutes=1), now, queue=job["queue"])
    return WaitFacts(
        **basic,
        **_of_workers(connection, job["queue"], now, heartbeat_seconds),
        redis_trouble=trouble,
        ahead=min(ahead, _CAP),
        ahead_is_capped=ahead > _CAP,
        rate_per_minute=statistics.rate_of_last_minute(history, now),
    )


def _of_workers(connection: Connection, queue: str, now: datetime, heartbeat_seconds: float) -> dict[str, Any]:
    """Return what the workers of a queue do; what runs is read from the jobs, which know it before a heartbeat does."""
    listening = [row for row in workers.present(connection) if _serves(row, queue)]
    clocks = clock_service.read(connection, now)
    alive = [row for row in listening if not workers.is_lost(row, clocks, heartbeat_seconds)]
    running = _running(connection, {row["name"] for row in alive})
    elsewhere = {name for name, job in running.items() if job["queue"] != queue}
    spans = [(now - job["started_at"]).total_seconds() for job in running.values() if job["started_at"]]
    return {
        "workers": len(alive),
        "lost_workers": len(listening) - len(alive),
        "busy": len(running),
        "busy_elsewhere": len(elsewhere),
        "longest_run_seconds": round(max(spans), 1) if spans else None,
        "waiting_elsewhere": _waiting_elsewhere(connection, queue, alive),
    }


def _running(connection: Connection, names: set[str]) -> Mapping[str, Row]:
    columns = (JOBS.c.worker, JOBS.c.queue, JOBS.c.started_at)
    chosen = select(*columns).where(JOBS.c.status == str(Status.PROCESSING)).limit(_MOST_RUNNING)
    return {row["worker"]: row for row in connection.execute(chosen).mappings() if row["worker"] in names}


def _waiting_elsewhere(connection: Connection, queue: str, alive: Sequence[Row]) -> int:
    waiting = statistics.pending_by_queue(connection)
    paused = {row["name"] for row in queues.all_queues(connection) if row["paused_at"] is not None}
    others = [name for name in waiting if name != queue and name not in paused]
    return sum(waiting[name] for name in others if any(_serves(row, name) for row in alive))


def _serves(row: Row, queue: str) -> bool:
    names = json.loads(row["queues"])
    return queue in names or ("*" in names and queue not in SYSTEM_QUEUES)


def _ahead(connection: Connection, job: Row) -> int:
    """Count the jobs that are taken first, up to one above the cap for each priority, in one statement."""
    counts = []
    for priority in _BEFORE[job["priority"]]:
        waiting = (
            JOBS.c.status == str(Status.PENDING),
            JOBS.c.queue == job["queue"],
            JOBS.c.priority == priority,
        )
        ahead = select(JOBS.c.id).where(*waiting)
        if priority == job["priority"]:
            ahead = ahead.where(
                (JOBS.c.pending_at < job["pending_at"])
                | ((JOBS.c.pending_at == job["pending_at"]) & (JOBS.c.id < job["id"]))
            )
        counts.append(select(func.count()).select_from(ahead.limit(_CAP + 1).subquery()).scalar_subquery())
    return sum(connection.execute(select(*counts)).one())
