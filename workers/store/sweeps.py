"""Rows of `sweeps` and `sweep_findings`: when the monitor looked, and what it did to which job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from workers.domain.states import Status
from workers.store.jobs import JOBS
from workers.store.monitor_models import Sweep, SweepFinding
from workers.store.types import Row

SWEEPS = cast(Table, Sweep.__table__)
FINDINGS = cast(Table, SweepFinding.__table__)


def add(connection: Connection, row: Mapping[str, Any]) -> None:
    """Write that a sweep was made."""
    connection.execute(insert(SWEEPS), dict(row))


def last(connection: Connection) -> Row | None:
    """Fetch the newest sweep: by its number, since a clock that was set back gives it an earlier time."""
    return connection.execute(select(SWEEPS).order_by(SWEEPS.c.id.desc()).limit(1)).mappings().one_or_none()


def latest_job_heartbeat(connection: Connection) -> datetime | None:
    """Return the latest heartbeat of the jobs that run."""
    running = select(func.max(JOBS.c.heartbeat_at)).where(JOBS.c.status == str(Status.PROCESSING))
    return cast("datetime | None", connection.execute(running).scalar_one())


def recent(connection: Connection, since: datetime, limit: int = 60) -> Sequence[Row]:
    """List the newest sweeps, oldest first."""
    chosen = select(SWEEPS).where(SWEEPS.c.at >= since).order_by(SWEEPS.c.at.desc()).limit(limit)
    return connection.execute(chosen).mappings().all()[::-1]


def add_findings(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what was done to these jobs."""
    if rows:
        connection.execute(insert(FINDINGS), [dict(row) for row in rows])


def findings(connection: Connection, since: datetime, limit: int = 50) -> Sequence[Row]:
    """List what was done since then, the newest first."""
    chosen = select(FINDINGS).where(FINDINGS.c.at >= since).order_by(FINDINGS.c.at.desc(), FINDINGS.c.id.desc())
    return connection.execute(chosen.limit(limit)).mappings().all()


def finding(connection: Connection, finding_id: int) -> Row | None:
    """Fetch one of them."""
    return connection.execute(select(FINDINGS).where(FINDINGS.c.id == finding_id)).mappings().one_or_none()


def mark_undone(connection: Connection, finding_id: int, by: str, now: datetime) -> bool:
    """Write that somebody has undone it; False when somebody already had."""
    open_one = (FINDINGS.c.id == finding_id, FINDINGS.c.undone_at.is_(None))
    return connection.execute(update(FINDINGS).where(*open_one).values(undone_at=now, undone_by=by)).rowcount == 1


def forget(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to so many sweeps and findings from before; tells how many."""
    gone = 0
    for table in (SWEEPS, FINDINGS):
        old = select(table.c.id).where(table.c.at < before).order_by(table.c.at).limit(limit)
        gone += connection.execute(delete(table).where(table.c.id.in_(old))).rowcount
    return gone
