"""Pages of jobs, newest first, by keyset on the id, which is the order in which jobs were made.

The cost is the same at any depth and any history: a filter by queue or task is read as one short run of an index for each
state, and the runs are merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    func,
    literal,
    or_,
    select,
    union_all,
)

from workers.domain.filters import JobFilter
from workers.domain.ids import is_id
from workers.store import cursors
from workers.store.job_runs import Names, runs_of
from workers.store.jobs import JOBS
from workers.store.types import Row

SEARCHED_ROWS = 20_000
COUNT_CAP = 10_000
MAX_PAGE_CHARACTERS = 1_000_000  # of payloads, results and tracebacks on a page that carries them
SHORT_PAYLOAD = 400  # characters; a list carries no longer ones
_HEAVY = {"payload", "search_text", "traceback", "result"}
_SHORT = case((func.length(JOBS.c.payload) <= SHORT_PAYLOAD, JOBS.c.payload), else_=None).label("short_payload")
_LIGHT = (*(column for column in JOBS.columns if column.name not in _HEAVY), _SHORT)
_LENGTH = sum((func.coalesce(func.length(JOBS.c[name]), 0) for name in sorted(_HEAVY)), literal(0)).label("length")


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
    A page with `full` rows has fewer of them when they are large.
    """
    direction, place = cursors.read(cursor) if cursor else ("o", None)
    columns = (JOBS.c.id, _LENGTH) if full else _LIGHT
    listed = _chosen(connection, wanted, columns, direction, place, limit + 1)
    rows: list[Row] = list(connection.execute(listed).mappings())
    more, rows = len(rows) > limit, rows[:limit]
    if full:
        most = _fitting(rows)
        more, rows = more or most < len(rows), _full_rows(connection, rows[:most])
    if direction == "n":
        rows.reverse()
    return Page(rows, *_neighbours(rows, direction, more, place is not None), SEARCHED_ROWS if scans(wanted) else None)


def _fitting(rows: Sequence[Row]) -> int:
    """Return how many of the first rows have no more text together than a page may have; one at least."""
    total = 0
    for index, row in enumerate(rows):
        total += row["length"]
        if total > MAX_PAGE_CHARACTERS:
            return max(1, index)
    return len(rows)


def _full_rows(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    found = connection.execute(select(JOBS).where(JOBS.c.id.in_([row["id"] for row in rows]))).mappings()
    by_id: dict[str, Row] = {row["id"]: row for row in found}
    return [by_id[row["id"]] for row in rows if row["id"] in by_id]


def count_matching(connection: Connection, wanted: JobFilter, cap: int = COUNT_CAP) -> tuple[int, bool]:
    """Count the jobs that fit, up to a cap; the second value says whether the cap was reached."""
    inner = _chosen(connection, wanted, (JOBS.c.id,), "o", None, cap + 1).subquery()
    n = connection.execute(select(func.count()).select_from(inner)).scalar_one()
    return min(n, cap), n > cap


def ids_matching(
    connection: Connection, wanted: JobFilter, cursor: str | None, limit: int
) -> tuple[list[str], str | None]:
    """List ids of jobs that fit, newest first, a slice at a time; the cursor of the next slice, or None at the end."""
    place = cursors.read(cursor)[1] if cursor else None
    ids = list(connection.execute(_chosen(connection, wanted, (JOBS.c.id,), "o", place, limit)).scalars())
    return ids, cursors.write("o", ids[-1]) if len(ids) == limit else None


def rows_named(connection: Connection, job_ids: Sequence[str]) -> Sequence[Row]:
    """Fetch these jobs (200 at most) as a list shows them; those that do not exist are left out."""
    return connection.execute(select(*_LIGHT).where(JOBS.c.id.in_(job_ids))).mappings().all()


def newest(
    connection: Connection, wanted: JobFilter, columns: Sequence[ColumnElement[Any]], limit: int
) -> Sequence[Row]:
    """Fetch some columns of the newest jobs that fit."""
    return connection.execute(_chosen(connection, wanted, columns, "o", None, limit)).mappings().all()


def _chosen(
    connection: Connection,
    wanted: JobFilter,
    columns: Sequence[ColumnElement[Any]],
    direction: str,
    place: str | None,
    limit: int,
) -> Select[Any]:
    runs = runs_of(Names(connection), wanted)
    if place is not None:
        beyond = JOBS.c.id < place if direction == "o" else JOBS.c.id > place
        runs = [[*run, beyond] for run in runs]
    statement = select(*columns).order_by(_along(JOBS.c.id, direction)).limit(limit)
    if scans(wanted):
        near = merged(runs, direction, SEARCHED_ROWS)
        return statement.where(JOBS.c.id.in_(near), contains(wanted.q or ""))
    return (
        statement.where(*runs[0]) if len(runs) == 1 else statement.where(JOBS.c.id.in_(merged(runs, direction, limit)))
    )


def merged(runs: Sequence[Sequence[ColumnElement[bool]]], direction: str, limit: int) -> Select[Any]:
    """Select the ids of the newest (`o`) or oldest (`n`) jobs of several runs."""
    along = _along(JOBS.c.id, direction)
    parts = [select(JOBS.c.id).where(*run).order_by(along).limit(limit).subquery() for run in runs]
    merged = union_all(*(select(part.c.id) for part in parts)).subquery()
    return select(merged.c.id).order_by(_along(merged.c.id, direction)).limit(limit)


def _along(column: ColumnElement[Any], direction: str) -> ColumnElement[Any]:
    return column.desc() if direction == "o" else column.asc()


def scans(wanted: JobFilter) -> bool:
    """Return whether a filter searches text."""
    return bool(wanted.q) and not is_id((wanted.q or "").lower())


def contains(words: str) -> ColumnElement[bool]:
    """Return the condition that a job contains these words."""
    pattern = "%" + words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    # What callers may not see must not answer a search: not by a row, a count or the time it takes.
    is_plain = JOBS.c.search_text.is_(None)
    payload = case((is_plain, JOBS.c.payload), else_=JOBS.c.search_text)
    key = case((is_plain, JOBS.c.idempotency_key), else_=None)
    searched = (JOBS.c.id, JOBS.c.task, payload, JOBS.c.error, JOBS.c.message, key)
    return or_(*(column.ilike(pattern, escape="\\") for column in searched))


def _neighbours(rows: Sequence[Row], direction: str, more: bool, from_cursor: bool) -> tuple[str | None, str | None]:
    if not rows:
        return None, None
    older, newer = cursors.write("o", rows[-1]["id"]), cursors.write("n", rows[0]["id"])
    has_older = more if direction == "o" else True
    has_newer = from_cursor if direction == "o" else more
    return older if has_older else None, newer if has_newer else None
