"""The monitor's sweep: stuck jobs, jobs that Redis lost, due jobs, schedules, dead workers, numbers, alerts.

Each step stands alone: one that fails is written down and the others go on. Two sweeps at once do no harm, since each
change is guarded, and a sweep that is killed half way leaves nothing that the next one does not find.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from workers.domain.actors import SYSTEM, Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Unavailable
from workers.domain.evenness import Clocks
from workers.domain.masking import mask_text
from workers.domain.untrusted import visible_line
from workers.services import alerting, audit, bulk_actions, carrying, delivery, events, measuring, stuck
from workers.services import clocks as clock_service
from workers.services.enqueueing import NewJob, enqueue_system
from workers.services.job_evidence import find_process_state
from workers.services.telling import tell_kind
from workers.settings import Settings
from workers.store import deadlines, sweeps
from workers.store import workers as worker_rows
from workers.yard import Yard

log = logging.getLogger(__name__)
MISSED_INTERVALS = 3
TASK = "monitor.sweep"


@dataclass
class Sweep:
    """What a sweep did."""

    reset: int = 0  # stuck jobs put back to pending
    failed: int = 0  # stuck jobs without tries left
    requeued: int = 0  # jobs that Redis had lost
    promoted: int = 0  # due jobs that nobody had put on their queue
    workers_lost: int = 0
    error: str | None = None


def sweep(yard: Yard, now: datetime | None = None, worker: str | None = None) -> Sweep:
    """Look once over everything and put right what is wrong. Raises Unavailable when nothing at all can be written.

    `worker` is the one that runs this sweep, if one does.
    """
    reading, began = clock_service.take_reading(now), time.perf_counter()
    clocks = clock_service.observe(yard, reading, worker)
    moment = reading.at
    done = Sweep()
    numbers: dict[str, Any] = {}
    faults: list[str] = []

    def step(name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("the sweep's step %s failed", name)
            faults.append(f"{name}: {error}")

    step("stuck jobs", lambda: _end_stuck(yard, clocks, done))
    step("lost jobs", lambda: _requeue(yard, moment, done))
    step("due jobs", lambda: _promote(yard, moment, done))
    step("schedules", lambda: _carry(yard))
    step("deadlines", lambda: _record_completed_runs(yard))
    step("bulk actions", lambda: _end_abandoned(yard, moment))
    step("workers", lambda: _mark_workers(yard, clocks, done))
    step("numbers", lambda: numbers.update(measuring.measure(yard, moment, done.reset + done.failed)))
    step("alerts", lambda: alerting.evaluate(yard, numbers, done, moment))
    done.error = visible_line(mask_text("; ".join(faults))) or None
    took = int((time.perf_counter() - began) * 1000)
    with yard.database.write() as connection:
        sweeps.add(connection, {"at": moment, "took_ms": took, **asdict(done)})
    tell_kind(yard, "sweep", "monitor", "swept")
    return done


def sweep_soon(yard: Yard, actor: Actor) -> str:
    """Enqueue a sweep beside the monitor's own rhythm; the job's id. Many wishes within a second are one sweep."""
    now = utcnow()
    key = f"{TASK}:{actor}:{int(now.timestamp())}"
    return enqueue_system(yard, NewJob(TASK, idempotency_key=key, created_by=str(actor))).job_id


def would_do(yard: Yard, now: datetime | None = None) -> list[stuck.Stuck]:
    """Tell which stuck jobs a sweep would put back or fail now; it changes nothing. Raises Unavailable."""
    with yard.database.read() as connection:
        return stuck.look(connection, yard.settings, clock_service.read(connection, now))


def seconds_since_sweep(connection: Connection, since: datetime, now: datetime) -> float:
    """Return for how long no sweep has run; what lies before `since`, when somebody began to watch, does not count."""
    last = sweeps.last(connection)
    # A sweep from the future was before the clock was set back, so before somebody watched.
    if last is not None and last["at"] <= now:
        since = max(since, last["at"])
    return (now - since).total_seconds()


def too_long(settings: Settings, seconds: float) -> float | None:
    """Return how long the monitor has been silent, when that is longer than three intervals; else None."""
    return seconds if seconds > MISSED_INTERVALS * settings.monitor_interval_seconds else None


def _end_stuck(yard: Yard, clocks: Clocks, done: Sweep) -> None:
    for one in stuck.resolve(yard, clocks):
        done.reset += one.will == "reset"
        done.failed += one.will == "failed"


def _requeue(yard: Yard, now: datetime, done: Sweep) -> None:
    done.requeued = delivery.deliver_missing(yard, now)


def _promote(yard: Yard, now: datetime, done: Sweep) -> None:
    late = now - timedelta(seconds=5)  # what is due this moment is the scheduler's
    while moved := delivery.promote_due(yard, late):
        done.promoted += moved


def _carry(yard: Yard) -> None:
    # Of a Redis that was emptied the sweep brings back the bulk; the schedulers fire what is due from SQL meanwhile.
    if wrong := carrying.reconcile(yard, limit=5000):
        log.info("%s runs of schedules differed between Redis and SQL and were corrected", wrong)


def _record_completed_runs(yard: Yard) -> None:
    # Recorded, since the job that tells may be deleted long before the schedule's next run.
    with yard.database.write() as connection:
        deadlines.record_completed(connection)


def _end_abandoned(yard: Yard, now: datetime) -> None:
    if ended := bulk_actions.end_abandoned(yard, now):
        log.warning("%s bulk actions without a job were marked as failed", ended)


def _mark_workers(yard: Yard, clocks: Clocks, done: Sweep) -> None:
    beat, now = yard.settings.heartbeat_seconds, clocks.now
    with yard.database.read() as connection:
        rows = worker_rows.present(connection)
    silent = [row for row in rows if worker_rows.is_lost(row, clocks, beat) and row["state"] != "lost"]
    with yard.database.write() as connection:
        marked = worker_rows.mark_lost(connection, silent, now)
        for row in marked:
            seen = {"state": row["state"], "heartbeat_at": row["heartbeat_at"], "job_id": row["job_id"]}
            audit.record(connection, SYSTEM, "worker.lost", "worker", row["name"], now, None, seen)
            events.note(
                connection, "worker.lost", {"name": row["name"], "host": row["host"]}, "system:monitor", row["job_id"]
            )
            if find_process_state(row) == "gone":
                # It will not come back, and whoever keeps it has started another: it needs nobody.
                worker_rows.mark_stopped(connection, row["name"], now)
        worker_rows.forget(connection, clocks)
    done.workers_lost = len(marked)
    for row in marked:
        tell_kind(yard, "worker", row["name"], "lost")
