"""Firing schedules: each moment once, in one transaction with its job, whoever hears of it and however often.

SQL decides: the schedule moves on by a guarded update, and the fire's row has the schedule and the moment as its key. Two
schedulers, a restart, a clock that is set back or a Redis that forgot everything meet the same guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from workers.domain import payloads
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.firing import GRACE, NEWEST, Plan, plan
from workers.domain.passed import passed_moments
from workers.services import audit, carrying, enqueueing
from workers.services.enqueueing import Enqueued, NewJob
from workers.services.schedule_values import get, rhythm_of, with_jitter
from workers.services.telling import tell_kind
from workers.store import schedules
from workers.store.types import Row
from workers.yard import Yard

STEP = 200
# What rq-scheduler carries is fired by it; what is overdue by this much, by whoever looks into SQL.
CARRIED_FOR = timedelta(seconds=1)
PAUSED = "The schedule was paused before this run started."


@dataclass
class _Firing:
    """What one transaction makes of the moments of a schedule."""

    row: Row
    now: datetime
    jobs: list[dict[str, Any]]  # prepared, one for each moment that is to fire
    refusal: str | None
    busy: bool = False
    made: list[dict[str, Any]] = field(default_factory=list)
    last_job_id: str | None = None


def fire(yard: Yard, schedule_id: str, now: datetime | None = None) -> int:
    """Fire what is due of a schedule; how many jobs were made. Nothing when it is not due. Raises Unavailable."""
    moment = now or utcnow()
    with yard.database.read() as connection:
        row = schedules.get(connection, schedule_id)
    if row is None or row["next_due_at"] is None or row["next_due_at"] > moment:
        carrying.carry(yard, schedule_id, row["next_due_at"] if row else None)
        return 0
    # A moment whose jitter still runs is not due yet; the first one is, or nobody would have asked.
    return run_due(yard, row, moment, max(row["next_fire_at"], moment - timedelta(seconds=row["jitter_seconds"])))


def run_due(yard: Yard, row: Row, now: datetime, until: datetime) -> int:
    """Run what is due of a schedule up to `until`, whatever its jitter; how many jobs were made. Raises Unavailable."""
    count, newest = due_moments(row, until)
    grace = GRACE + timedelta(seconds=row["jitter_seconds"])
    chosen = plan(row["missed"], row["catch_up_max"], count, newest, now, grace)
    following = rhythm_of(row).next(until)
    onward = {"next_fire_at": following, "next_due_at": with_jitter(row, following), "last_fire_at": newest[-1]}
    firing = _prepared(yard, row, len(chosen.fire), now)
    onward |= {"last_job_id": None, **_refused(firing, chosen)}
    with yard.database.write() as connection:
        if not schedules.advance(connection, row, onward):
            return 0
        _write(yard, connection, firing, chosen)
    enqueueing.deliver(yard, firing.made)
    carrying.carry(yard, row["id"], onward["next_due_at"])
    tell_kind(yard, "schedule", row["id"], "fired", row["version"] + 1)
    return len(firing.made)


def due_moments(row: Row, until: datetime) -> tuple[int, list[datetime]]:
    """Count the moments from the next run of a schedule up to `until`, and list the newest of them, oldest first."""
    count, newest = passed_moments(rhythm_of(row), row["next_fire_at"], until, NEWEST)
    if not newest:
        # The zone's data has changed since this moment was promised: it is kept.
        return 1, [row["next_fire_at"]]
    return count, newest


def is_due(row: Row, now: datetime) -> bool:
    """Return whether a moment of a schedule has come, though its jitter may still run."""
    return row["next_fire_at"] is not None and bool(row["next_fire_at"] <= now)


def passed_over(row: Row, now: datetime) -> dict[str, Any]:
    """Return the columns of a schedule whose due moments are recorded as missed."""
    return {"last_fire_at": due_moments(row, now)[1][-1]} if is_due(row, now) else {}


def record_missed(connection: Connection, row: Row, now: datetime) -> None:
    """Record what is due of a schedule that is being paused: nothing of it runs. Does nothing when nothing is due."""
    if not is_due(row, now):
        return
    count, newest = due_moments(row, now)
    grace = GRACE + timedelta(seconds=row["jitter_seconds"])
    recent = [moment for moment in newest if now - moment <= grace]
    late = newest[: len(newest) - len(recent)]
    if late:
        missed = _fire_row(row, late[-1], now, "missed")
        schedules.add_fire(connection, {**missed, "missed_count": count - len(recent)})
    if recent:
        missed = _fire_row(row, recent[-1], now, "missed")
        paused = {"missed_count": len(recent), "detail": PAUSED}
        schedules.add_fire(connection, {**missed, **paused})


def fire_overdue(yard: Yard, now: datetime) -> int:
    """Fire what is due and was not fired by what Redis carries; how many schedules. Raises Unavailable."""
    with yard.database.read() as connection:
        found = schedules.due(connection, now - CARRIED_FOR, STEP)
    for schedule_id in found:
        fire(yard, schedule_id, now)
    return len(found)


def release_held(yard: Yard, _now: datetime) -> int:
    """Run fires that waited for the run before them; how many. Raises Unavailable."""
    with yard.database.read() as connection:
        first: dict[str, Row] = {}
        for one in schedules.held(connection, STEP):
            first.setdefault(one["schedule_id"], one)
        free = [one for schedule_id, one in first.items() if not schedules.is_busy(connection, schedule_id)]
        rows = {one["schedule_id"]: get(connection, one["schedule_id"]) for one in free}
    return sum(_release(yard, rows[one["schedule_id"]], one) for one in free)


def run_now(yard: Yard, schedule_id: str, actor: Actor) -> Enqueued:
    """Run a schedule's task once now, whether it is enabled or not and whatever runs. Raises NotFound, BadInput."""
    now = utcnow()
    with yard.database.read() as connection:
        row = get(connection, schedule_id)
    job = _job(yard, row, now, str(actor))
    # A double click is one wish.
    job["idempotency_key"] = f"run:{schedule_id}:{actor}:{int(now.timestamp())}"[:255]
    with yard.database.write() as connection:
        enqueueing.know_queues(yard, connection, [job], now)
        holder = enqueueing.insert(connection, job)
        if holder is not None:
            return enqueueing.known(connection, holder)
        schedules.add_fire(connection, _fire_row(row, now, now, "manual", job["id"]))
        schedules.refuse(connection, schedule_id, None)
        audit.record(connection, actor, "schedule.run", "schedule", schedule_id, now, None, {"job_id": job["id"]})
    enqueueing.deliver(yard, [job])
    tell_kind(yard, "schedule", schedule_id, "fired", row["version"])
    return Enqueued(job["id"], job["status"])


def _prepared(yard: Yard, row: Row, count: int, now: datetime) -> _Firing:
    try:
        return _Firing(row, now, [_job(yard, row, now) for _ in range(count)], None)
    except BadInput as error:
        # The task is gone, or takes this payload no longer: people must see that, and the rhythm goes on.
        return _Firing(row, now, [], error.message[:1000])


def _refused(firing: _Firing, chosen: Plan) -> dict[str, Any]:
    """Return what becomes of the reason why a schedule is refused: a run that can be made clears it."""
    return {"refused_reason": firing.refusal} if chosen.fire else {}


def _job(yard: Yard, row: Row, now: datetime, maker: str = "") -> dict[str, Any]:
    new = NewJob(
        row["task"],
        payloads.load(row["payload"]),
        queue=row["queue"],
        priority=row["priority"],
        max_retries=row["max_retries"],
        timeout_seconds=row["timeout_seconds"],
        schedule=row["id"],
        created_by=maker or f"schedule:{row['name']}",
    )
    return enqueueing.row_of(yard, new, now)


def _write(yard: Yard, connection: Connection, firing: _Firing, chosen: Plan) -> None:
    row, now = firing.row, firing.now
    if chosen.last_missed is not None:
        missed = _fire_row(row, chosen.last_missed, now, "missed")
        schedules.add_fire(connection, {**missed, "missed_count": chosen.missed})
    if firing.jobs:
        enqueueing.know_queues(yard, connection, firing.jobs, now)
    firing.busy = row["overlap"] != "allow" and bool(chosen.fire) and schedules.is_busy(connection, row["id"])
    waiting = row["overlap"] == "queue_one" and bool(schedules.held(connection, 1, row["id"]))
    for index, fire_at in enumerate(chosen.fire):
        outcome = "refused" if firing.refusal else "fired"
        if outcome == "fired" and firing.busy:
            # What is caught up is owed: it waits for the run before it instead of being dropped.
            owed = row["missed"] == "catch_up" and now - fire_at > GRACE + timedelta(seconds=row["jitter_seconds"])
            is_held = owed or (row["overlap"] == "queue_one" and not waiting)
            outcome, waiting = ("held" if is_held else "overlapped"), waiting or is_held
        job = firing.jobs[index] if outcome == "fired" else None
        told = {**_fire_row(row, fire_at, now, outcome, job["id"] if job else None), "detail": firing.refusal}
        if schedules.add_fire(connection, told) and job is not None:
            _add(connection, firing, told, job)
    if firing.last_job_id is not None:
        schedules.ran(connection, row["id"], firing.last_job_id)


def _add(connection: Connection, firing: _Firing, fire_row: Mapping[str, Any], job: dict[str, Any]) -> None:
    holder = enqueueing.insert(connection, job)
    if holder is None:
        firing.made.append(job)
        firing.busy = firing.row["overlap"] != "allow"
    else:
        # A unique task: its unfinished job stands for this fire too.
        schedules.point_to(connection, fire_row, holder)
    firing.last_job_id = holder or job["id"]


def _release(yard: Yard, row: Row, held: Row) -> int:
    now = utcnow()
    firing = _prepared(yard, row, 1, now)
    with yard.database.write() as connection:
        if schedules.is_busy(connection, row["id"]):
            return 0
        job_id = firing.jobs[0]["id"] if firing.jobs else None
        outcome = {"outcome": "fired" if job_id else "refused", "job_id": job_id, "detail": firing.refusal}
        if not schedules.settle(connection, held, {**outcome, "at": now}):
            return 0
        schedules.refuse(connection, row["id"], firing.refusal)
        if job_id:
            enqueueing.know_queues(yard, connection, firing.jobs, now)
            _add(connection, firing, held, firing.jobs[0])
            schedules.ran(connection, row["id"], firing.last_job_id or job_id)
    enqueueing.deliver(yard, firing.made)
    tell_kind(yard, "schedule", row["id"], "fired", row["version"])
    return 1


def _fire_row(row: Row, fire_at: datetime, now: datetime, outcome: str, job_id: str | None = None) -> dict[str, Any]:
    due = with_jitter(row, fire_at) or fire_at
    late = 0 if outcome == "manual" else max(0, int((now - due).total_seconds() * 1000))
    told = {"schedule_id": row["id"], "fire_at": fire_at, "at": now, "late_ms": late, "outcome": outcome}
    return {**told, "job_id": job_id, "missed_count": 0, "detail": None}
