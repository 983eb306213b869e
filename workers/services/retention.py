"""Keeping the tables small: jobs that ended long ago go, in small steps; old minutes are folded into hours."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, func, insert, select

from workers.domain.ids import first_id
from workers.domain.states import FINAL
from workers.services import audit, deleted_schedules, removal
from workers.services import sessions as session_service
from workers.services.statistics import HEALTH, minute_of
from workers.store import alerts, schedules, sweeps, trigger_rows
from workers.store.jobs import JOBS
from workers.store.models import JobMinute
from workers.store.monitor_models import JobHistogram
from workers.yard import Yard

STEP = 500
ROLL_UP_DAYS = 90
# What is older than so many hours is kept by so many minutes: the buckets of the charts that still show it.
FOLDS = ((7, 20), (49, 60))
_MINUTES = cast(Table, JobMinute.__table__)
_HISTOGRAMS = cast(Table, JobHistogram.__table__)


def purge_step(yard: Yard, now: datetime) -> int:
    """Delete up to 500 jobs that ended before RETENTION_DAYS, with their files; tells how many. Raises Unavailable."""
    # The lock keeps a job that somebody retries at this moment.
    old = select(JOBS.c.id).where(*_old(yard, now)).order_by(JOBS.c.id).limit(STEP).with_for_update(skip_locked=True)
    with yard.database.write() as connection:
        found = connection.execute(old).scalars().all()
        removed = removal.remove_rows(yard, connection, found)
    removal.remove_files(yard, removed)
    return len(removed.job_ids)


def would_purge(yard: Yard, now: datetime) -> int:
    """Count the jobs that the retention would delete now. Raises Unavailable."""
    with yard.database.read() as connection:
        return connection.execute(select(func.count()).select_from(JOBS).where(*_old(yard, now))).scalar_one()


def tidy_step(yard: Yard, now: datetime) -> int:
    """Fold an hour of old roll-ups and delete what is older than its time; tells how many rows went. Raises Unavailable."""
    with yard.database.write() as connection:
        gone = sum(_fold(connection, table, now, *fold) for table in (_MINUTES, _HISTOGRAMS) for fold in FOLDS)
        last = minute_of(now) - ROLL_UP_DAYS * 1440
        for table in (_MINUTES, _HISTOGRAMS, HEALTH):
            gone += connection.execute(delete(table).where(table.c.minute < last)).rowcount
        before = now - timedelta(days=yard.settings.retention_days)
        gone += sweeps.forget(connection, before, STEP)
        gone += schedules.forget(connection, before, STEP)
        gone += trigger_rows.forget(connection, before, STEP)
        gone += session_service.forget(connection, now)
        gone += deleted_schedules.forget(connection, now)
        gone += audit.forget_refusals(connection, before, STEP)
        gone += alerts.forget(connection, now - timedelta(days=ROLL_UP_DAYS), STEP)
    return gone


def _old(yard: Yard, now: datetime) -> tuple[ColumnElement[bool], ...]:
    before = now - timedelta(days=yard.settings.retention_days)
    ended = JOBS.c.status.in_([str(one) for one in FINAL])
    return ended, JOBS.c.id < first_id(before), JOBS.c.updated_at < before


def _fold(connection: Connection, table: Table, now: datetime, after_hours: int, minutes: int) -> int:
    """Sum the oldest hour that is not folded yet into groups of minutes; tells how many rows went."""
    until = (minute_of(now) // 60 - after_hours) * 60
    oldest = select(func.min(table.c.minute)).where(table.c.minute < until, table.c.minute % minutes != 0)
    first = connection.execute(oldest).scalar_one()
    if first is None:
        return 0
    hour = first // 60 * 60
    within = table.c.minute.between(hour, hour + 59)
    rows = connection.execute(_summed(table, minutes).where(within)).mappings().all()
    gone = connection.execute(delete(table).where(within)).rowcount
    connection.execute(insert(table), [{**row, "slot": 0} for row in rows])
    return gone - len(rows)


def _summed(table: Table, minutes: int) -> Select[Any]:
    start = (table.c.minute - table.c.minute % minutes).label("minute")
    keys = [start, *(column for column in table.primary_key if column.name not in {"minute", "slot"})]
    sums = [func.sum(column).label(column.name) for column in table.columns if not column.primary_key]
    return select(*keys, *sums).group_by(*keys)
