"""Deadlines of schedules: which of their runs has completed last, and since when one is open.

A run has completed when its job has, or a job that people made of that one with *Run again*, however often.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, or_, select, update

from workers.domain.states import Status
from workers.store.jobs import JOBS
from workers.store.schedules import FIRES, SCHEDULES
from workers.store.types import Row

_HAS_DEADLINE = SCHEDULES.c.finish_within_seconds.is_not(None)
# A run after the last one that completed.
_IS_OPEN = or_(SCHEDULES.c.last_completed_fire_at.is_(None), FIRES.c.fire_at > SCHEDULES.c.last_completed_fire_at)


def record_completed(connection: Connection, job_ids: Sequence[str] | None = None) -> None:
    """Record for each schedule with a deadline which of its runs completed last.

    `job_ids` are jobs that are about to be deleted: only they are looked at, since nothing would tell of them later.
    """
    if job_ids is not None and not job_ids:
        return
    runs = (
        select(FIRES.c.schedule_id, FIRES.c.fire_at, FIRES.c.job_id)
        .join(SCHEDULES, SCHEDULES.c.id == FIRES.c.schedule_id)
        .where(_HAS_DEADLINE, _IS_OPEN, FIRES.c.job_id.is_not(None))
        .cte("runs", recursive=True)
    )
    again = select(runs.c.schedule_id, runs.c.fire_at, JOBS.c.id).where(JOBS.c.rerun_of == runs.c.job_id)
    runs = runs.union_all(again)
    chosen = select(runs.c.schedule_id, func.max(runs.c.fire_at)).join(JOBS, JOBS.c.id == runs.c.job_id)
    chosen = chosen.where(JOBS.c.status == str(Status.COMPLETED)).group_by(runs.c.schedule_id)
    if job_ids is not None:
        chosen = chosen.where(JOBS.c.id.in_(job_ids))
    for schedule_id, fire_at in connection.execute(chosen).all():
        _set_completed(connection, schedule_id, fire_at)


def open_deadlines(connection: Connection) -> Sequence[Row]:
    """List the enabled schedules that must finish within a time, with the first run since the last one that completed."""
    columns = ("id", "name", "finish_within_seconds", "jitter_seconds", "next_fire_at")
    first = select(func.min(FIRES.c.fire_at)).where(FIRES.c.schedule_id == SCHEDULES.c.id, _IS_OPEN).scalar_subquery()
    own = [SCHEDULES.c[name] for name in columns]
    chosen = select(*own, JOBS.c.status, first.label("open_since")).select_from(
        SCHEDULES.outerjoin(JOBS, JOBS.c.id == SCHEDULES.c.last_job_id)
    )
    return connection.execute(chosen.where(SCHEDULES.c.enabled, _HAS_DEADLINE)).mappings().all()


def _set_completed(connection: Connection, schedule_id: str, fire_at: datetime) -> None:
    known = SCHEDULES.c.last_completed_fire_at
    later = (SCHEDULES.c.id == schedule_id, or_(known.is_(None), known < fire_at))
    connection.execute(update(SCHEDULES).where(*later).values(last_completed_fire_at=fire_at))
