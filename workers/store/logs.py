"""Rows of `job_logs`: what jobs logged and printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, func, insert, select

from workers.store.models import JobLog
from workers.store.types import Row

LOGS = cast(Table, JobLog.__table__)
_INSERT = insert(LOGS)
LEVELS = ("debug", "info", "print", "warning", "error")


def append(connection: Connection, job_id: str, attempt: int, lines: Sequence[Mapping[str, Any]]) -> None:
    """Keep lines of an attempt: each `{at, level, line}`, already bounded and masked."""
    if lines:
        connection.execute(_INSERT, [{"job_id": job_id, "attempt": attempt, **line} for line in lines])


def page(
    connection: Connection,
    job_id: str,
    *,
    after: int = 0,
    limit: int = 200,
    attempt: int | None = None,
    levels: Sequence[str] = (),
    q: str | None = None,
) -> Sequence[Row]:
    """Fetch lines after an id, oldest first."""
    chosen = select(LOGS).where(LOGS.c.job_id == job_id, LOGS.c.id > after, *_narrow(attempt, levels, q))
    return connection.execute(chosen.order_by(LOGS.c.id).limit(limit)).mappings().all()


def newest(connection: Connection, job_id: str, limit: int = 500) -> Sequence[Row]:
    """Fetch the last lines, oldest first."""
    chosen = select(LOGS).where(LOGS.c.job_id == job_id).order_by(LOGS.c.id.desc()).limit(limit)
    return connection.execute(chosen).mappings().all()[::-1]


def count(connection: Connection, job_id: str) -> int:
    """Count the lines of a job; bounded, since what is kept of each attempt is."""
    return connection.execute(select(func.count()).where(LOGS.c.job_id == job_id)).scalar_one()


def _narrow(attempt: int | None, levels: Sequence[str], q: str | None) -> list[Any]:
    conditions: list[Any] = []
    if attempt is not None:
        conditions.append(LOGS.c.attempt == attempt)
    if levels:
        conditions.append(LOGS.c.level.in_(list(levels)))
    if q:
        conditions.append(LOGS.c.line.icontains(q, autoescape=True))
    return conditions
