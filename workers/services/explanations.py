"""Gathers the facts for `domain.explain` in a constant number of statements."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from workers.domain.clock import rfc3339
from workers.domain.evenness import Clocks
from workers.domain.explain import WaitFacts, sentence
from workers.domain.masking import mask_text
from workers.domain.names import SYSTEM_QUEUES
from workers.domain.states import Status
from workers.domain.untrusted import visible
from workers.services import clocks as clock_service
from workers.services import statistics
from workers.store import queues, workers
from workers.store.jobs import JOBS
from workers.store.types import Row

_CAP = 10_000
_BEFORE = {"high": ("high",), "normal": ("high", "normal"), "low": ("high", "normal", "low")}


def explain(
    connection: Connection, job: Row, now: datetime, heartbeat_seconds: float = 15.0, redis_trouble: str | None = None
) -> dict[str, Any]:
    """Say in one sentence why a job is not running, with the facts behind it: `{sentence, facts}`.

    `redis_trouble` is what keeps jobs waiting for Redis, if anything does.
    """
    facts = replace(_facts(connection, job, now, heartbeat_seconds), redis_trouble=redis_trouble)
    told = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in asdict(facts).items()}
    return {"sentence": sentence(facts), "facts": told}


def _facts(connection: Connection, job: Row, now: datetime, heartbeat_seconds: float) -> WaitFacts:
    status = Status(job["status"])
    basic = {
        "status": status,
        "queue": job["queue"],
        "now": now,
        "due_at": job["due_at"],
        "attempt": job["attempt"],
        "max_retries": job["max_retries"],
        "error": visible(mask_text(job["error"])) if job["error"] else None,
    }
    if status != Status.PENDING:
        return WaitFacts(**basic)
    row = queues.get(connection, job["queue"])
    clocks = clock_service.read(connection, now)
    listening = [one for one in workers.present(connection) if _listens(one, job["queue"], clocks, heartbeat_seconds)]
    ahead = _ahead(connection, job)
    history = statistics.minutes(connection, now - timedelta(minutes=10), now, queue=job["queue"])
    return WaitFacts(
        **basic,
        paused_at=row["paused_at"] if row else None,
        paused_by=row["paused_by"] if row else None,
        workers=len(listening),
        busy=sum(one["state"] == "busy" for one in listening),
        ahead=min(ahead, _CAP),
        ahead_is_capped=ahead > _CAP,
        rate_per_minute=statistics.rate_per_minute(history),
    )


def _listens(row: Row, queue: str, clocks: Clocks, heartbeat_seconds: float) -> bool:
    names = json.loads(row["queues"])
    return (queue in names or ("*" in names and queue not in SYSTEM_QUEUES)) and not workers.is_lost(
        row, clocks, heartbeat_seconds
    )


def _ahead(connection: Connection, job: Row) -> int:
    total = 0
    for priority in _BEFORE[job["priority"]]:
        ahead = select(JOBS.c.id).where(
            JOBS.c.status == str(Status.PENDING), JOBS.c.queue == job["queue"], JOBS.c.priority == priority
        )
        if priority == job["priority"]:
            ahead = ahead.where(
                (JOBS.c.pending_at < job["pending_at"])
                | ((JOBS.c.pending_at == job["pending_at"]) & (JOBS.c.id < job["id"]))
            )
        counted = select(func.count()).select_from(ahead.limit(_CAP + 1).subquery())
        total += connection.execute(counted).scalar_one()
    return total
