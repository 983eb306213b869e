"""What somebody ran a task with the last time, to begin a new form with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, select, union_all

from workers.domain import payloads
from workers.domain.masking import MASK, mask
from workers.domain.states import Status
from workers.store.models import Job

_JOBS = cast(Table, Job.__table__)
_LOOKED_AT = 25  # newest jobs of each status: one range of the index on task and status


@dataclass(frozen=True, slots=True)
class LastJob:
    """The newest job of a task that somebody enqueued."""

    id: str
    created_at: datetime


def find(connection: Connection, task: str, created_by: str) -> LastJob | None:
    """Return the newest job of a task that was enqueued by this actor, among the newest of each status; None without one."""
    parts = [
        select(_JOBS.c.id, _JOBS.c.created_at, _JOBS.c.created_by)
        .where(_JOBS.c.task == task, _JOBS.c.status == status.value)
        .order_by(_JOBS.c.id.desc())
        .limit(_LOOKED_AT)
        .subquery()
        for status in Status
    ]
    newest = union_all(*[select(part) for part in parts]).subquery()
    chosen = select(newest).where(newest.c.created_by == created_by).order_by(newest.c.id.desc()).limit(1)
    row = connection.execute(chosen).mappings().first()
    return LastJob(row["id"], row["created_at"]) if row is not None else None


def payload_of(connection: Connection, job: LastJob, declared: Collection[str]) -> dict[str, Any]:
    """Return the payload of a job without its secrets; empty when the job is gone."""
    text = connection.execute(select(_JOBS.c.payload).where(_JOBS.c.id == job.id)).scalar_one_or_none()
    return _open_values(mask(payloads.load(text), declared)) if text is not None else {}


def _open_values(shown: Any) -> Any:
    if isinstance(shown, dict):
        return {name: _open_values(value) for name, value in shown.items() if not _is_masked(value)}
    if isinstance(shown, list):
        return [_open_values(value) for value in shown if not _is_masked(value)]
    return shown


def _is_masked(value: Any) -> bool:
    return isinstance(value, str) and MASK in value
