"""Numbers for pages, from counters and minute roll-ups: never by counting jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Table, func, select, union_all

from workers.domain.clock import EARLIEST, rfc3339
from workers.domain.filters import JobFilter
from workers.domain.names import SYSTEM_QUEUES
from workers.domain.staleness import heartbeat_limit
from workers.domain.states import FINAL, Status
from workers.services import clocks as clock_service
from workers.settings import Settings
from workers.store import job_lists
from workers.store import queues as queue_rows
from workers.store import workers as worker_rows
from workers.store.jobs import JOBS
from workers.store.models import HealthMetric, JobCount, JobMinute

_COUNTS = cast(Table, JobCount.__table__)
_MINUTES = cast(Table, JobMinute.__table__)
HEALTH = cast(Table, HealthMetric.__table__)
_SAMPLE = 60
_MOST_TASKS = 100
_MOST_SILENT = 1000


@dataclass(frozen=True, slots=True)
class Usual:
    """How long a task usually runs, from its last completed runs; seconds."""

    p50: float
    p95: float
    count: int


@dataclass(frozen=True, slots=True)
class Minute:
    """What ended in one minute."""

    minute: int  # minutes since 1970 UTC
    completed: int = 0
    failed: int = 0
    retried: int = 0
    canceled: int = 0
    run_ms: int = 0
    wait_ms: int = 0


def status_counts(connection: Connection, *, hides_system: bool = False) -> dict[str, int]:
    """Return how many jobs are in each state, every state named; without those of Taskyard's own queues if asked."""
    counts = dict.fromkeys(map(str, Status), 0)
    chosen = select(_COUNTS.c.status, func.sum(_COUNTS.c.n))
    if hides_system:
        chosen = chosen.where(_COUNTS.c.queue.not_in(SYSTEM_QUEUES))
    for status, n in connection.execute(chosen.group_by(_COUNTS.c.status)):
        counts[status] = int(n)
    return counts


def silent_jobs(connection: Connection, now: datetime, settings: Settings) -> int:
    """Tell how many running jobs have given no sign for too long; counted up to 1,000."""
    seconds = heartbeat_limit(settings.heartbeat_seconds)
    limit = now - timedelta(seconds=seconds)
    silent = select(JOBS.c.id).where(JOBS.c.status == str(Status.PROCESSING), JOBS.c.heartbeat_at < limit)
    counted = select(func.count()).select_from(silent.limit(_MOST_SILENT).subquery())
    number = int(connection.execute(counted).scalar_one())
    if number and clock_service.read(connection, now).age_seconds(EARLIEST) <= seconds:
        return 0  # the clock has not run evenly for that long
    return number


def silent_since(connection: Connection) -> datetime | None:
    """Return the oldest heartbeat of the jobs that are processing; None when none is."""
    oldest = select(func.min(JOBS.c.heartbeat_at)).where(JOBS.c.status == str(Status.PROCESSING))
    return cast("datetime | None", connection.execute(oldest).scalar_one())


def count_by_queue(connection: Connection, statuses: Sequence[str]) -> dict[str, int]:
    """Count the jobs in these states on each queue, by the counters."""
    n = func.sum(_COUNTS.c.n)
    chosen = select(_COUNTS.c.queue, n).where(_COUNTS.c.status.in_([str(one) for one in statuses]))
    return {queue: int(count) for queue, count in connection.execute(chosen.group_by(_COUNTS.c.queue))}


def pending_by_queue(connection: Connection) -> dict[str, int]:
    """Tell how many jobs wait on each queue that has any."""
    n = func.sum(_COUNTS.c.n)
    chosen = select(_COUNTS.c.queue, n).where(_COUNTS.c.status == str(Status.PENDING)).group_by(_COUNTS.c.queue)
    return {queue: int(waiting) for queue, waiting in connection.execute(chosen.having(n > 0))}


def snapshot(connection: Connection, now: datetime, heartbeat_seconds: float = 15.0) -> dict[str, Any]:
    """Return the state of everything in five statements: states, queues, workers, at which moment.

    `statuses` counts the jobs of all queues but Taskyard's own, `workers` those that listen to such queues.
    """
    queues: dict[str, dict[str, Any]] = {
        row["name"]: {
            **dict.fromkeys(map(str, Status), 0),
            "oldest_pending_at": None,
            "paused_at": rfc3339(row["paused_at"]),
            "paused_by": row["paused_by"],
            "workers": 0,
            "busy": 0,
        }
        for row in queue_rows.all_queues(connection)
    }
    _count_into(connection, queues)
    _oldest_into(connection, queues)
    workers = _workers_into(connection, queues, now, heartbeat_seconds)
    own = [counts for name, counts in queues.items() if name not in SYSTEM_QUEUES]
    statuses = {str(status): sum(counts[status] for counts in own) for status in Status}
    return {"statuses": statuses, "queues": queues, "workers": workers, "at": rfc3339(now)}


def minutes(
    connection: Connection,
    since: datetime,
    until: datetime,
    *,
    queue: str | None = None,
    task: str | None = None,
    without: Sequence[str] = (),
) -> list[Minute]:
    """Return what ended in each minute of a time, oldest first; minutes in which nothing ended are zeros. 90 days at most.

    `without` names queues whose jobs are left out.
    """
    first, last = minute_of(since), minute_of(until)
    chosen = select(_MINUTES.c.minute, *_sums()).where(_MINUTES.c.minute.between(first, last))
    if queue is not None:
        chosen = chosen.where(_MINUTES.c.queue == queue)
    if task is not None:
        chosen = chosen.where(_MINUTES.c.task == task)
    if without:
        chosen = chosen.where(_MINUTES.c.queue.not_in(without))
    found = {row[0]: Minute(*map(int, row)) for row in connection.execute(chosen.group_by(_MINUTES.c.minute))}
    first = max(first, last - 90 * 1440)
    return [found.get(minute) or Minute(minute) for minute in range(first, last + 1)]


def minutes_by_queue(connection: Connection, now: datetime, count: int = 60) -> dict[str, list[Minute]]:
    """Tell the last minutes of every queue in one statement."""
    last = minute_of(now)
    first = last - count + 1
    chosen = select(_MINUTES.c.queue, _MINUTES.c.minute, *_sums()).where(_MINUTES.c.minute >= first)
    found: dict[str, dict[int, Minute]] = {}
    for queue, *numbers in connection.execute(chosen.group_by(_MINUTES.c.queue, _MINUTES.c.minute)):
        found.setdefault(queue, {})[numbers[0]] = Minute(*map(int, numbers))
    return {
        queue: [of_queue.get(minute) or Minute(minute) for minute in range(first, last + 1)]
        for queue, of_queue in found.items()
    }


def health(connection: Connection, now: datetime, count: int = 60) -> list[dict[str, Any]]:
    """Tell how things stood in each of the last minutes, oldest first; a minute that nobody measured repeats the last."""
    last = minute_of(now)
    chosen = select(HEALTH).where(HEALTH.c.minute > last - count).order_by(HEALTH.c.minute)
    found = {row["minute"]: dict(row) for row in connection.execute(chosen).mappings()}
    history: list[dict[str, Any]] = []
    before: dict[str, Any] = dict.fromkeys((column.name for column in HEALTH.columns), 0)
    for minute in range(last - count + 1, last + 1):
        before = {**found.get(minute, before), "minute": minute}
        history.append(before)
    return history


def task_totals(connection: Connection, now: datetime, days: int = 7) -> dict[str, dict[str, int]]:
    """Tell for each task what ended within some days, from the roll-ups: completed, failed, run_ms."""
    last = minute_of(now)
    return tasks_within(connection, last - days * 1440, last)


def tasks_within(connection: Connection, first: int, last: int) -> dict[str, dict[str, int]]:
    """Tell it of these minutes, both among them."""
    names = ("completed", "failed", "run_ms")
    sums = [func.sum(_MINUTES.c[name]) for name in names]
    chosen = select(_MINUTES.c.task, *sums).where(_MINUTES.c.minute.between(first, last)).group_by(_MINUTES.c.task)
    return {task: dict(zip(names, map(int, told), strict=True)) for task, *told in connection.execute(chosen)}


def hours_run(connection: Connection, since: datetime) -> dict[int, float]:
    """Tell how many seconds jobs ran in each hour since then; an hour is named by its first minute since 1970."""
    hour = (_MINUTES.c.minute - _MINUTES.c.minute % 60).label("hour")
    chosen = select(hour, func.sum(_MINUTES.c.run_ms)).where(_MINUTES.c.minute > minute_of(since)).group_by(hour)
    return {int(minute): float(run_ms or 0) / 1000 for minute, run_ms in connection.execute(chosen)}


def usual(connection: Connection, task: str) -> Usual | None:
    """Tell how long a task usually runs; None before its third completed run."""
    return usual_of(connection, [task]).get(task)


def usual_of(connection: Connection, tasks: Sequence[str]) -> dict[str, Usual]:
    """Tell it for several tasks, from the newest 60 completed runs of each."""
    names = list(dict.fromkeys(tasks))
    if not names:
        return {}
    runs = [
        select(JOBS.c.task, JOBS.c.run_ms)
        .where(JOBS.c.task == task, JOBS.c.status == str(Status.COMPLETED), JOBS.c.run_ms.is_not(None))
        .order_by(JOBS.c.id.desc())
        .limit(_SAMPLE)
        .subquery()
        for task in names[:_MOST_TASKS]
    ]
    times: dict[str, list[int]] = {}
    for task, run_ms in connection.execute(union_all(*(select(run) for run in runs))):
        times.setdefault(task, []).append(run_ms)
    return {task: _usual(sorted(found)) for task, found in times.items() if len(found) >= 3}


def _usual(times: Sequence[int]) -> Usual:
    return Usual(times[len(times) // 2] / 1000, times[int(len(times) * 0.95)] / 1000, len(times))


def recent_runs(connection: Connection, task: str, limit: int = _SAMPLE) -> list[dict[str, Any]]:
    """List the last ended runs of a task, oldest first: id, status, run_ms, created_at, skipped_reason."""
    columns = (JOBS.c.id, JOBS.c.status, JOBS.c.run_ms, JOBS.c.created_at, JOBS.c.skipped_reason)
    ended = JobFilter(task=(task,), status=tuple(FINAL))
    return [dict(row) for row in job_lists.newest(connection, ended, columns, limit)][::-1]


def minute_of(moment: datetime) -> int:
    """Number the minute of an instant since 1970 UTC."""
    return int(moment.timestamp() // 60)


def rate_of_last_minute(history: Sequence[Minute], now: datetime) -> float:
    """Return how many attempts ended within the last 60 s; `history` ends with the minute of now.

    Ends are counted by the minute, so of the minute before this one the share is taken that lies within the 60 s.
    """
    ended = [one.completed + one.failed + one.retried for one in history[-2:]]
    if not ended:
        return 0.0
    share = 1 - (now.timestamp() % 60) / 60
    return ended[-1] + (ended[-2] * share if len(ended) > 1 else 0.0)


def _sums() -> list[Any]:
    columns = ("completed", "failed", "retried", "canceled", "run_ms", "wait_ms")
    return [func.sum(_MINUTES.c[name]) for name in columns]


def _count_into(connection: Connection, queues: dict[str, dict[str, Any]]) -> None:
    chosen = select(_COUNTS.c.queue, _COUNTS.c.status, func.sum(_COUNTS.c.n)).group_by(
        _COUNTS.c.queue, _COUNTS.c.status
    )
    for queue, status, n in connection.execute(chosen):
        if queue in queues and status in queues[queue]:
            queues[queue][status] = int(n)


def _oldest_into(connection: Connection, queues: dict[str, dict[str, Any]]) -> None:
    # One index look-up for each queue that has work: the cost is that of the queues, not of the jobs on them.
    waiting = [name for name, queue in queues.items() if queue[Status.PENDING] > 0]
    for start in range(0, len(waiting), 200):
        columns = [
            select(func.min(JOBS.c.pending_at))
            .where(JOBS.c.queue == name, JOBS.c.priority == priority, JOBS.c.status == str(Status.PENDING))
            .scalar_subquery()
            for name in waiting[start : start + 200]
            for priority in ("high", "normal", "low")
        ]
        found = list(connection.execute(select(*columns)).one())
        for index, name in enumerate(waiting[start : start + 200]):
            times = [moment for moment in found[3 * index : 3 * index + 3] if moment is not None]
            queues[name]["oldest_pending_at"] = rfc3339(min(times)) if times else None


def _workers_into(
    connection: Connection, queues: dict[str, dict[str, Any]], now: datetime, heartbeat_seconds: float
) -> dict[str, int]:
    numbers = {"total": 0, "busy": 0, "idle": 0, "lost": 0}
    clocks = clock_service.read(connection, now)
    for row in worker_rows.present(connection):
        if worker_rows.is_lost(row, clocks, heartbeat_seconds):
            numbers["lost"] += 1
            continue
        listens = json.loads(row["queues"])
        names = [name for name in queues if name in listens or ("*" in listens and name not in SYSTEM_QUEUES)]
        for name in names:
            queues[name]["workers"] += 1
        if set(listens) <= set(SYSTEM_QUEUES):
            continue
        numbers["total"] += 1
        numbers["busy" if row["state"] == "busy" else "idle"] += 1
    return numbers
