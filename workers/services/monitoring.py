"""One pass over what may have gone wrong: jobs whose worker is gone, and jobs that Redis lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from workers.domain.clock import parse_instant, utcnow
from workers.domain.states import Status
from workers.services import delivery, execution, statistics
from workers.services.execution import Ending
from workers.store import workers as worker_rows
from workers.store.dialects import insert_or_ignore
from workers.store.jobs import JOBS
from workers.store.types import Row
from workers.yard import Yard

STEP = 500
MISSED_BEATS = 4


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a pass found and did."""

    lost: int  # jobs whose worker was gone: put back, or failed when no tries were left
    requeued: int  # jobs that Redis had lost


def sweep(yard: Yard, now: datetime | None = None) -> Sweep:
    """Look once over everything; safe beside other sweeps. Raises Unavailable."""
    moment = now or utcnow()
    measure(yard, moment)
    return Sweep(end_lost(yard, moment), delivery.deliver_missing(yard, moment))


def measure(yard: Yard, now: datetime) -> None:
    """Keep how things stand in this minute; the second sweep of a minute keeps nothing."""
    with yard.database.read() as connection:
        standing = statistics.snapshot(connection, now, yard.settings.heartbeat_seconds)
        hour = statistics.minutes(connection, now - timedelta(hours=1), now)
    oldest = [
        parse_instant(one["oldest_pending_at"]) for one in standing["queues"].values() if one["oldest_pending_at"]
    ]
    row = {
        "minute": statistics.minute_of(now),
        "queue_length": standing["statuses"][Status.PENDING],
        "processing_count": standing["statuses"][Status.PROCESSING],
        "failed_last_hour": sum(minute.failed for minute in hour),
        "oldest_wait_seconds": max(((now - moment).total_seconds() for moment in oldest), default=0.0),
        "workers_busy": standing["workers"]["busy"],
        "workers_total": standing["workers"]["total"],
    }
    with yard.database.write() as connection:
        connection.execute(insert_or_ignore(connection, statistics.HEALTH), row)


def end_lost(yard: Yard, now: datetime) -> int:
    """End the attempts whose heartbeat is old, or very old although their worker still beats; tells how many."""
    silence = timedelta(seconds=max(MISSED_BEATS * yard.settings.heartbeat_seconds, 10.0))
    with yard.database.read() as connection:
        old = JOBS.c.heartbeat_at <= now - silence
        chosen = select(JOBS).where(JOBS.c.status == str(Status.PROCESSING), old).order_by(JOBS.c.heartbeat_at)
        candidates = connection.execute(chosen.limit(STEP)).mappings().all()
        workers = {row["name"]: row for row in worker_rows.present(connection)}
    limit = timedelta(seconds=yard.settings.stuck_after_seconds)
    lost = [row for row in candidates if _is_lost(row, workers, now, yard, limit)]
    for row in lost:
        beat = int((now - row["heartbeat_at"]).total_seconds())
        error = f"Worker lost: {row['worker']} has not told of this job for {beat} seconds"
        execution.end(yard, row["id"], row["attempt"], Ending("lost", error=error, retry_after_seconds=0))
    return len(lost)


def _is_lost(row: Row, workers: dict[str, Row], now: datetime, yard: Yard, limit: timedelta) -> bool:
    worker = workers.get(row["worker"] or "")
    gone = worker is None or worker_rows.is_lost(worker, now, yard.settings.heartbeat_seconds)
    return gone or now - row["heartbeat_at"] > limit
