"""Rows of `bulk_actions` and of what they refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, insert, or_, select, update

from workers.domain.states import FINAL
from workers.store.database import QuickConnection
from workers.store.dialects import insert_or_ignore
from workers.store.models import BulkAction, BulkActionItem, Job
from workers.store.prepared import Prepared
from workers.store.types import Row

ACTIONS = cast(Table, BulkAction.__table__)
ITEMS = cast(Table, BulkActionItem.__table__)
_JOBS = cast(Table, Job.__table__)
UNFINISHED = ("pending", "processing")
_END = Prepared(
    update(ACTIONS)
    .where(ACTIONS.c.job_id == bindparam("b_job"), or_(*(ACTIONS.c.status == status for status in UNFINISHED)))
    .values({name: bindparam(name) for name in ("status", "error", "ended_at")})
)


def add(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a bulk action."""
    connection.execute(insert(ACTIONS), row)


def get(connection: Connection, action_id: str, *, locked: bool = False) -> Row | None:
    """Fetch one; a locked one is kept from others until the transaction ends."""
    chosen = select(ACTIONS).where(ACTIONS.c.id == action_id)
    return connection.execute(chosen.with_for_update() if locked else chosen).mappings().one_or_none()


def change(connection: Connection, action_id: str, values: Mapping[str, Any], *, before: Sequence[str]) -> bool:
    """Change one that is still in one of these states; False when it no longer is."""
    guarded = update(ACTIONS).where(ACTIONS.c.id == action_id, ACTIONS.c.status.in_(list(before)))
    return connection.execute(guarded.values(dict(values))).rowcount == 1


def refuse(connection: Connection, action_id: str, refused: Sequence[tuple[str, str]]) -> None:
    """Keep which jobs were left as they were, and why."""
    rows = [{"bulk_action_id": action_id, "job_id": job, "outcome": "refused", "detail": why} for job, why in refused]
    if rows:
        connection.execute(insert_or_ignore(connection, ITEMS), rows)


def refused(connection: Connection, action_id: str, after: str = "", limit: int = 200) -> Sequence[Row]:
    """List jobs that were left as they were, those after this job's id."""
    chosen = select(ITEMS).where(ITEMS.c.bulk_action_id == action_id, ITEMS.c.job_id > after)
    return connection.execute(chosen.order_by(ITEMS.c.job_id).limit(limit)).mappings().all()


def newest(connection: Connection, before: str | None, limit: int) -> Sequence[Row]:
    """List actions, newest first, those before this id; an id holds the time at which it was made."""
    older = [] if before is None else [ACTIONS.c.id < before]
    return connection.execute(select(ACTIONS).where(*older).order_by(ACTIONS.c.id.desc()).limit(limit)).mappings().all()


def unfinished(connection: Connection, limit: int) -> Sequence[Row]:
    """List actions that are not finished, newest first."""
    chosen = select(ACTIONS).where(ACTIONS.c.status.in_(UNFINISHED))
    return connection.execute(chosen.order_by(ACTIONS.c.id.desc()).limit(limit)).mappings().all()


def end_with_job(connection: Connection | QuickConnection, job_ids: Sequence[str], why: str, now: datetime) -> None:
    """Fail the unfinished actions of jobs that have ended: nothing works them any more."""
    ended = {"status": "failed", "error": why, "ended_at": now}
    _END.run_many(connection, [{"b_job": job_id, **ended} for job_id in job_ids])


def end_abandoned(connection: Connection, why: str, now: datetime) -> Sequence[str]:
    """Fail the unfinished actions whose job has ended or was deleted; their ids."""
    at_work = select(_JOBS.c.id).where(_JOBS.c.id == ACTIONS.c.job_id, _JOBS.c.status.notin_(list(FINAL)))
    ended = update(ACTIONS).where(ACTIONS.c.status.in_(UNFINISHED), ~at_work.exists())
    changed = ended.values(status="failed", error=why, ended_at=now).returning(ACTIONS.c.id)
    return list(connection.execute(changed).scalars())
