"""Rows of `job_logs`: what jobs logged and printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, func, insert, select

from workers.store.models import JobLog
from workers.store.types import Row

LOGS = cast(Table, JobLog.__table__)
_INSERT = insert(LOGS)
_STEP = 100
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
) -> Iterable[Row]:
    """Fetch lines after an id, oldest first; `q` is looked for in the lines as they are shown.

    The lines are masked one by one, as the caller takes them: all at once would take hundreds of milliseconds.
    """
    chosen = (
        select(LOGS).where(LOGS.c.job_id == job_id, LOGS.c.id > after, *_narrow(attempt, levels)).order_by(LOGS.c.id)
    )
    if not q:
        return connection.execute(chosen.limit(limit)).mappings()
    return _matching(connection, chosen, q.casefold(), limit)


def newest(connection: Connection, job_id: str, limit: int = 500) -> Iterable[Row]:
    """Fetch the last lines, oldest first; they are masked one by one, as in `page`."""
    last = select(LOGS.c.id).where(LOGS.c.job_id == job_id).order_by(LOGS.c.id.desc()).limit(limit)
    return connection.execute(select(LOGS).where(LOGS.c.id.in_(last)).order_by(LOGS.c.id)).mappings()


def count(connection: Connection, job_id: str) -> int:
    """Count the lines of a job; bounded, since what is kept of each attempt is."""
    return connection.execute(select(func.count()).where(LOGS.c.job_id == job_id)).scalar_one()


def _matching(connection: Connection, chosen: Select[Any], words: str, limit: int) -> Sequence[Row]:
    # Lines of earlier versions may hold secrets: what is not shown must not be found.
    found: list[Row] = []
    after = 0
    while rows := connection.execute(chosen.where(LOGS.c.id > after).limit(_STEP)).mappings().all():
        found += [row for row in rows if words in row["line"].casefold()]
        if len(found) >= limit:
            break
        after = rows[-1]["id"]
    return found[:limit]


def _narrow(attempt: int | None, levels: Sequence[str]) -> list[Any]:
    conditions: list[Any] = []
    if attempt is not None:
        conditions.append(LOGS.c.attempt == attempt)
    if levels:
        conditions.append(LOGS.c.level.in_(list(levels)))
    return conditions
