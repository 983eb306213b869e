"""Rows of `job_logs`: what jobs logged and printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, func, insert, select, update

from workers.domain.clock import moment_of
from workers.domain.log_bounds import GAP_LEVEL, LogLine, LogPlan, LogState
from workers.store.attempts import ATTEMPTS
from workers.store.models import JobLog
from workers.store.types import Row

LOGS = cast(Table, JobLog.__table__)
_INSERT = insert(LOGS)
_STEP = 100

Line = dict[str, Any]


def keep(connection: Connection, job_id: str, attempt: int, plan: LogPlan) -> tuple[LogState, list[Line]]:
    """Carry out what is planned for the log of an attempt; its lines are bounded and masked.

    Returns what is stored then, and the lines as viewers see them change: each `{at, level, line, replaces}`.
    Nothing is written when the attempt has no row any more, since its job was deleted.
    """
    if not _is_known(connection, job_id, attempt):
        return plan.after, []
    shown = [_put(connection, job_id, attempt, line) for line in plan.changed]
    appended = [line for line in shown if not line["replaces"]]
    state = replace(
        plan.after, tail_lines=plan.after.tail_lines + len(appended), is_cut=plan.after.is_cut or bool(appended)
    )
    head = [line for line in plan.added if line.at_us <= state.head_us]
    tail = plan.added[len(head) :]
    _insert(connection, job_id, attempt, head)
    gap = _put_tail(connection, job_id, attempt, plan, tail)
    return state, [*shown, *map(_shown, head), *gap, *map(_shown, tail)]


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


def has_line(connection: Connection, job_id: str, attempt: int, at_us: int) -> bool:
    """Return whether an attempt has a line of this time."""
    found = select(LOGS.c.id).where(*_of(job_id, attempt), LOGS.c.at == moment_of(at_us)).limit(1)
    return connection.execute(found).first() is not None


def count(connection: Connection, job_id: str) -> int:
    """Count the lines of a job; bounded, since what is kept of each attempt is."""
    return connection.execute(select(func.count()).where(LOGS.c.job_id == job_id)).scalar_one()


def _insert(connection: Connection, job_id: str, attempt: int, lines: Sequence[LogLine]) -> None:
    if lines:
        rows = [{"at": moment_of(one.at_us), "level": one.level, "line": one.text} for one in lines]
        connection.execute(_INSERT, [{"job_id": job_id, "attempt": attempt, **row} for row in rows])


def _put(connection: Connection, job_id: str, attempt: int, line: LogLine) -> Line:
    """Replace the line that was stored under this time; one that was left out since comes again, at the end."""
    changed = update(LOGS).where(*_of(job_id, attempt), LOGS.c.at == moment_of(line.at_us)).values(line=line.text)
    if connection.execute(changed).rowcount:
        return {**_shown(line), "replaces": True}
    _insert(connection, job_id, attempt, [line])
    return {**_shown(line), "replaces": False}


def _put_tail(
    connection: Connection, job_id: str, attempt: int, plan: LogPlan, tail: Sequence[LogLine]
) -> Sequence[Line]:
    """Insert lines of the tail; the oldest of it go, and in their place stands how many were left out."""
    after_head = (*_of(job_id, attempt), LOGS.c.at > moment_of(plan.after.head_us))
    # The first line after the head is, or becomes, the one that speaks of the gap.
    chosen = select(LOGS.c.id, LOGS.c.at).where(*after_head).order_by(LOGS.c.id).limit(1)
    first = None if plan.gap is None else connection.execute(chosen).first()
    if plan.gap is not None and first is None:
        at_us = tail[0].at_us - 1 if tail else plan.after.last_us + 1
        line = LogLine(0, at_us, GAP_LEVEL, plan.gap)
        _insert(connection, job_id, attempt, [line, *tail])
        return [_shown(line)]
    # Inserted before the others are deleted: SQLite gives the ids of deleted last rows again, and ids are cursors.
    _insert(connection, job_id, attempt, tail)
    if first is None:
        return []
    gap = {"level": GAP_LEVEL, "line": plan.gap}
    connection.execute(update(LOGS).where(LOGS.c.id == first.id).values(gap))
    surplus = plan.removed if plan.before.left_out else plan.removed - 1
    if surplus > 0:
        oldest = select(LOGS.c.id).where(*after_head, LOGS.c.id > first.id).order_by(LOGS.c.id).limit(surplus)
        connection.execute(delete(LOGS).where(LOGS.c.id.in_(oldest)))
    return [{"at": first.at, **gap, "replaces": True}]


def _is_known(connection: Connection, job_id: str, attempt: int) -> bool:
    # Locked, so that the job cannot be deleted before the lines are there.
    there = select(ATTEMPTS.c.attempt).where(ATTEMPTS.c.job_id == job_id, ATTEMPTS.c.attempt == attempt)
    return connection.execute(there.with_for_update()).first() is not None


def _of(job_id: str, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return LOGS.c.job_id == job_id, LOGS.c.attempt == attempt


def _shown(line: LogLine) -> Line:
    return {"at": moment_of(line.at_us), "level": line.level, "line": line.text, "replaces": line.replaces}


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
