"""Keeping the tables small: jobs that ended long ago go, in small steps."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta

from sqlalchemy import select

from workers.domain.ids import first_id
from workers.domain.states import FINAL
from workers.store import jobs
from workers.store.jobs import JOBS
from workers.yard import Yard

STEP = 500


def purge_step(yard: Yard, now: datetime) -> int:
    """Delete up to 500 jobs that ended before RETENTION_DAYS, with their files; tells how many. Raises Unavailable."""
    before = now - timedelta(days=yard.settings.retention_days)
    ended = JOBS.c.status.in_([str(one) for one in FINAL])
    # The lock keeps a job that somebody retries at this moment.
    old = (
        select(JOBS.c.id)
        .where(ended, JOBS.c.id < first_id(before), JOBS.c.updated_at < before)
        .order_by(JOBS.c.id)
        .limit(STEP)
        .with_for_update(skip_locked=True)
    )
    with yard.database.write() as connection:
        found = connection.execute(old).scalars().all()
        removed = jobs.remove(connection, found) if found else 0
    for job_id in found:
        shutil.rmtree(yard.settings.files_dir / job_id, ignore_errors=True)
    return removed
