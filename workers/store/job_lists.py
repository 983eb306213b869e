"""Pages of jobs, newest first, by keyset on (created_at, id): the cost is the same at any depth and any history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from workers.domain.filters import JobFilter
from workers.domain.ids import is_id
from workers.store import cursors
from workers.store.jobs import JOBS
from workers.store.types import Row

SEARCHED_ROWS = 20_000
COUNT_CAP = 10_000
_HEAVY = {"payload", "traceback", "result"}
_LIGHT = tuple(column for column in JOBS.columns if column.name not in _HEAVY)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one page with the cursors of its neighbours; `searched` says how many rows a text search looked at most."""

    rows: Sequence[Row]
    next_cursor: str | None
    previous_cursor: str | None
    searched: int | None = None


def jobs_page(
    connection: Connection, wanted: JobFilter, *, cursor: str | None = None, limit: int = 50, full: bool = False
) -> Page:
    """Fetch one page of jobs that fit. BadInput for a bad cursor.

    Text is searched in the newest 20,000 jobs that fit the rest of the filter, so that no search reads a whole history.
    """
    direction, place = "o", None
    if cursor:
        direction, created_at, row_id = cursors.read(cursor)
        place = (created_at, row_id)
    columns = tuple(JOBS.columns) if full else _LIGHT
    statement = _chosen(wanted, columns, direction, place).limit(limit + 1)
    rows = list(connection.execute(statement).mappings())
    more, rows = len(rows) > limit, rows[:limit]
    if direction == "n":
        rows.reverse()
    return Page(rows, *_neighbours(rows, direction, more, place is not None), SEARCHED_ROWS if _scans(wanted) else None)


def count_matching(connection: Connection, wanted: JobFilter, cap: int = COUNT_CAP) -> tuple[int, bool]:
    """Count the jobs that fit, up to a cap; the second value says whether the cap was reached."""
    inner = _chosen(wanted, (JOBS.c.id,), "o", None).limit(cap + 1).subquery()
    n = connection.execute(select(func.count()).select_from(inner)).scalar_one()
    return min(n, cap), n > cap


def ids_matching(
    connection: Connection, wanted: JobFilter, cursor: str | None, limit: int
) -> tuple[list[str], str | None]:
    """List ids of jobs that fit, newest first, a slice at a time; the cursor of the next slice, or None at the end."""
    place = cursors.read(cursor)[1:] if cursor else None
    statement = _chosen(wanted, (JOBS.c.id, JOBS.c.created_at), "o", place).limit(limit)
    rows = connection.execute(statement).all()
    following = cursors.write("o", rows[-1].created_at, rows[-1].id) if len(rows) == limit else None
    return [row.id for row in rows], following


def _chosen(
    wanted: JobFilter, columns: Sequence[ColumnElement[Any]], direction: str, place: tuple[Any, str] | None
) -> Select[Any]:
    conditions = _conditions(wanted)
    if place is not None:
        here = tuple_(JOBS.c.created_at, JOBS.c.id)
        there = tuple_(literal(place[0], JOBS.c.created_at.type), literal(place[1], JOBS.c.id.type))
        conditions.append(here < there if direction == "o" else here > there)
    order = (JOBS.c.created_at.desc(), JOBS.c.id.desc()) if direction == "o" else (JOBS.c.created_at, JOBS.c.id)
    statement = select(*columns).where(*conditions).order_by(*order)
    if not _scans(wanted):
        return statement
    near = select(JOBS.c.id, JOBS.c.created_at).where(*conditions).order_by(*order).limit(SEARCHED_ROWS).subquery()
    joined = select(*columns).join(near, near.c.id == JOBS.c.id).where(_text(wanted.q or ""))
    return joined.order_by(*order)


def _conditions(wanted: JobFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    for name in ("status", "queue"):
        values = [str(value) for value in getattr(wanted, name)]
        if values:
            conditions.append(JOBS.c[name] == values[0] if len(values) == 1 else JOBS.c[name].in_(values))
    if wanted.task:
        conditions.append(or_(*(_task(name) for name in wanted.task)))
    for name in ("priority", "schedule", "batch", "parent"):
        if getattr(wanted, name):
            conditions.append(JOBS.c[name] == getattr(wanted, name))
    if wanted.since:
        conditions.append(JOBS.c.created_at >= wanted.since)
    if wanted.until:
        conditions.append(JOBS.c.created_at < wanted.until)
    if wanted.q and is_id(wanted.q.lower()):
        conditions.append(JOBS.c.id == wanted.q.lower())
    return conditions


def _task(name: str) -> ColumnElement[bool]:
    if not name.endswith("*"):
        return JOBS.c.task == name
    stem = name[:-1]
    # A range, not LIKE: it uses the index on both databases whatever their collation does with LIKE.
    return and_(JOBS.c.task >= stem, JOBS.c.task < stem + "\U0010ffff")


def _scans(wanted: JobFilter) -> bool:
    return bool(wanted.q) and not is_id((wanted.q or "").lower())


def _text(words: str) -> ColumnElement[bool]:
    pattern = "%" + words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    searched = (JOBS.c.id, JOBS.c.task, JOBS.c.payload, JOBS.c.error, JOBS.c.message, JOBS.c.idempotency_key)
    return or_(*(column.ilike(pattern, escape="\\") for column in searched))


def _neighbours(rows: Sequence[Row], direction: str, more: bool, from_cursor: bool) -> tuple[str | None, str | None]:
    if not rows:
        return None, None
    older = cursors.write("o", rows[-1]["created_at"], rows[-1]["id"])
    newer = cursors.write("n", rows[0]["created_at"], rows[0]["id"])
    has_older = more if direction == "o" else True
    has_newer = from_cursor if direction == "o" else more
    return older if has_older else None, newer if has_newer else None
