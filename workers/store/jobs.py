"""Rows of `jobs`: put in, fetched, and moved by guarded transitions. Nobody else sets a status."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Update,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from workers.domain.names import BULK_TASK
from workers.domain.states import FINAL, Status, may_move
from workers.store import bulk_actions, job_keys, upload_uses
from workers.store.database import QuickConnection
from workers.store.models import (
    VERSION_STEP,
    Attempt,
    BulkActionItem,
    Job,
    JobEvent,
    JobLog,
)
from workers.store.prepared import Prepared
from workers.store.types import Row

JOBS = cast(Table, Job.__table__)
EVENTS = cast(Table, JobEvent.__table__)
# What a new row holds; the rest comes with its life, and is not worth binding fifty values for.
_NEW = (
    "id task queue priority payload search_text status progress attempt max_retries timeout_seconds retry_delays scheduled_for due_at "
    "pending_at idempotency_key request_hash unique_key parent batch schedule rerun_of created_at updated_at callback_url created_by "
    "version"
).split()
_OFTEN_EMPTY = frozenset(
    "retry_delays scheduled_for due_at pending_at idempotency_key request_hash unique_key parent batch schedule "
    "rerun_of callback_url".split()
)
_BLANK = {**dict.fromkeys(_NEW), "progress": 0.0, "attempt": 1, "created_by": "", "version": VERSION_STEP}
_INSERT_EVENT = Prepared(
    insert(EVENTS).values({one.name: bindparam(one.name) for one in EVENTS.columns if one.name != "id"}).inline()
)
_GET = select(JOBS).where(JOBS.c.id == bindparam("b_id"))
# What those who push and tell need of a job that has moved.
MOVED = tuple(JOBS.c[name] for name in "id task queue priority attempt timeout_seconds status version worker".split())
NEXT_VERSION = (JOBS.c.version // VERSION_STEP + 1) * VERSION_STEP


def get(connection: Connection, job_id: str) -> Row | None:
    """Fetch one job; None when there is none."""
    return connection.execute(_GET, {"b_id": job_id}).mappings().one_or_none()


def get_many(connection: Connection, job_ids: Sequence[str]) -> dict[str, Row]:
    """Fetch these jobs by id (1,000 at most); those that do not exist are left out."""
    rows = connection.execute(select(JOBS).where(JOBS.c.id.in_(job_ids))).mappings()
    return {row["id"]: row for row in rows}


def locked(connection: Connection, job_ids: Sequence[str]) -> list[Row]:
    """Fetch the `MOVED` columns of these jobs (1,000 at most), in this order, and keep others from them until the end."""
    chosen = select(*MOVED).where(JOBS.c.id.in_(job_ids)).with_for_update()
    rows = {row["id"]: row for row in connection.execute(chosen).mappings()}
    return [rows[job_id] for job_id in job_ids if job_id in rows]


def add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert new jobs; see `blank`. That they were enqueued, and by whom, the rows say themselves: `events` tells it."""
    _insertion(rows).run_many(connection, rows)
    upload_uses.note(connection, rows)


def add_quickly(connection: QuickConnection, row: Row) -> None:
    """Insert a new job that holds no key and names no upload; see `can_be_quick`."""
    _insertion([row]).run(connection, row)


def can_be_quick(row: Row) -> bool:
    """Return whether `add_quickly` may insert a row."""
    return row["idempotency_key"] is None and row["unique_key"] is None and upload_uses.PREFIX not in row["payload"]


def blank() -> dict[str, Any]:
    """Make a new row, to be filled in."""
    return dict(_BLANK)


def transition(
    connection: Connection | QuickConnection,
    job_id: str,
    before: Status,
    attempt: int,
    after: Status,
    event: str,
    now: datetime,
    *,
    actor: str = "",
    values: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
    unless: ColumnElement[bool] | None = None,
    unless_values: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Move a job from one state to another, if it still is in that state and attempt.

    Returns the row as it is now, or None when someone else was first. The event is written in the same transaction.
    `values` sets further columns, `attempt` among them; `unless` is a condition that forbids it, with its
    parameters in `unless_values`. Raises ValueError for a
    move that `states.TRANSITIONS` lacks, KeyConflict when another job holds the `unique_key` in `values`.
    """
    if not may_move(before, after, event):
        raise ValueError(f"a job cannot go from {before} to {after} by {event}")
    changes = {"status": str(after), "updated_at": now, **(values or {})}
    if after in FINAL:
        changes["unique_key"] = None
    guard = {"b_id": job_id, "b_status": str(before), "b_attempt": attempt, **(unless_values or {})}
    statement, bound = _guarded_update(tuple(changes), unless), {**changes, **guard}
    if changes.get("unique_key") is None:
        row = statement.one(connection, bound)
    else:
        assert isinstance(connection, Connection)
        row = job_keys.give_unique_key(connection, changes["unique_key"], lambda: statement.one(connection, bound))
    if row is not None:
        note(connection, row, event, now, actor=actor, detail=detail, before=before)
        if after in FINAL and row["task"] == BULK_TASK:
            bulk_actions.end_with_job(connection, [job_id], _end_words(after, changes), now)
    return row


def transition_many(
    connection: Connection,
    rows: Sequence[Row],
    after: Status,
    event: str,
    now: datetime,
    values: Mapping[str, Any],
    *,
    actor: str = "",
) -> Sequence[Row]:
    """Move jobs that are in one state together, as `transition` moves one; the `MOVED` columns of those that moved.

    The rows come from `locked` in this transaction, so that their attempts cannot have changed. A value may be an
    expression over the columns of JOBS. Raises ValueError for a move that `states.TRANSITIONS` lacks.
    """
    if not rows:
        return []
    before = Status(rows[0]["status"])
    if not may_move(before, after, event):
        raise ValueError(f"a job cannot go from {before} to {after} by {event}")
    changes = {"status": str(after), "updated_at": now, "version": NEXT_VERSION, **values}
    if after in FINAL:
        changes["unique_key"] = None
    ids = [row["id"] for row in rows]
    changed = update(JOBS).where(JOBS.c.id.in_(ids), JOBS.c.status == str(before)).values(changes).returning(*MOVED)
    moved = {row["id"]: row for row in connection.execute(changed).mappings()}
    told = [moved[job_id] for job_id in ids if job_id in moved]
    _INSERT_EVENT.run_many(connection, [_entry(row, event, now, actor, None, str(before)) for row in told])
    if after in FINAL and (ended := [row["id"] for row in told if row["task"] == BULK_TASK]):
        bulk_actions.end_with_job(connection, ended, _end_words(after, changes), now)
    return told


def _end_words(after: Status, changes: Mapping[str, Any]) -> str:
    """Say why a bulk action ends with its job; one that was worked to its end is not unfinished any more."""
    error = str(changes.get("error") or "").partition("\n")[0][:500]
    return f"Its job ended as {after}" + (f": {error}" if error else ".")


def note(
    connection: Connection | QuickConnection,
    row: Row,
    event: str,
    now: datetime,
    *,
    actor: str = "",
    detail: Mapping[str, Any] | None = None,
    before: str | None = None,
) -> None:
    """Write an event of a job as it is in this row."""
    _INSERT_EVENT.run(connection, _entry(row, event, now, actor, detail, before))


def touch(connection: Connection, job_id: str, attempt: int, values: Mapping[str, Any]) -> bool:
    """Set columns of a job that is processing in this attempt, without an event; False when it no longer is."""
    guard = {"b_id": job_id, "b_status": str(Status.PROCESSING), "b_attempt": attempt}
    return _guarded_touch(tuple(values)).run(connection, {**values, **guard}) == 1


def remove(connection: Connection, job_ids: Sequence[str]) -> list[str]:
    """Delete jobs with their attempts, events and logs; those that are processing stay. Returns the ids that went."""
    gone = connection.execute(
        delete(JOBS).where(JOBS.c.id.in_(job_ids), JOBS.c.status != str(Status.PROCESSING)).returning(JOBS.c.id)
    ).scalars()
    ids = list(gone)
    for model in (Attempt, JobEvent, JobLog, BulkActionItem):
        table = cast(Table, model.__table__)
        connection.execute(delete(table).where(table.c.job_id.in_(ids)))
    upload_uses.forget(connection, ids)
    job_keys.forget_further_keys(connection, ids)
    return ids


def events(connection: Connection, job: Row, limit: int = 500) -> Sequence[Row]:
    """Tell what happened to a job, oldest first, beginning with its row: that it was enqueued."""
    chosen = select(EVENTS).where(EVENTS.c.job_id == job["id"]).order_by(EVENTS.c.id).limit(limit)
    kept = connection.execute(chosen).mappings().all()
    return [_enqueued(job, kept), *kept]


def children(connection: Connection, job_id: str, limit: int = 100) -> Sequence[Row]:
    """List the jobs that this one enqueued."""
    chosen = select(JOBS).where(JOBS.c.parent == job_id).order_by(JOBS.c.id).limit(limit)
    return connection.execute(chosen).mappings().all()


def due(connection: Connection, now: datetime, limit: int) -> Sequence[Row]:
    """List waiting jobs whose moment has come, the longest overdue first."""
    waiting = JOBS.c.status.in_([str(Status.SCHEDULED), str(Status.RETRY_SCHEDULED)])
    chosen = select(JOBS).where(waiting, JOBS.c.due_at <= now).order_by(JOBS.c.due_at).limit(limit)
    return connection.execute(chosen).mappings().all()


def pending_since(connection: Connection, queue: str, until: datetime, after: str, limit: int) -> Sequence[Row]:
    """List jobs that have been on this queue since before `until`, in the order of their ids, after the given one."""
    columns = (JOBS.c.id, JOBS.c.attempt, JOBS.c.queue, JOBS.c.priority, JOBS.c.timeout_seconds)
    there = (JOBS.c.queue == queue, JOBS.c.status == str(Status.PENDING))
    waiting = (*there, JOBS.c.pending_at <= until, JOBS.c.id > after)
    return connection.execute(select(*columns).where(*waiting).order_by(JOBS.c.id).limit(limit)).mappings().all()


def _entry(
    row: Row, event: str, now: datetime, actor: str, detail: Mapping[str, Any] | None, before: str | None
) -> dict[str, Any]:
    return {
        "job_id": row["id"],
        "at": now,
        "event": event,
        "from_status": str(before) if before else None,
        "to_status": row["status"] if before else None,
        "attempt": row["attempt"],
        "actor": actor,
        "detail": json.dumps(detail, ensure_ascii=False, default=str) if detail else None,
    }


def _enqueued(job: Row, kept: Sequence[Row]) -> Row:
    first = next((one["from_status"] for one in kept if one["from_status"]), job["status"])
    told = {"id": 0, "job_id": job["id"], "at": job["created_at"], "event": "enqueued", "attempt": 1}
    return {**told, "from_status": None, "to_status": first, "actor": job["created_by"], "detail": None}


def _insertion(rows: Sequence[Row]) -> Prepared:
    """Return the statement that inserts these rows and names no column that is null in all of them."""
    empty = set(_OFTEN_EMPTY)
    for row in rows:
        empty = {name for name in empty if row[name] is None}
    return _insert_without(frozenset(empty))


@lru_cache(maxsize=128)
def _insert_without(empty: frozenset[str]) -> Prepared:
    named = [name for name in _NEW if name not in empty]
    return Prepared(insert(JOBS).values({name: bindparam(name) for name in named}).inline())


@lru_cache(maxsize=128)
def _guarded_update(names: tuple[str, ...], unless: ColumnElement[bool] | None) -> Prepared:
    statement = _guarded(names) if unless is None else _guarded(names).where(~unless)
    return Prepared(statement.values(version=NEXT_VERSION).returning(*JOBS.columns))


@lru_cache(maxsize=128)
def _guarded_touch(names: tuple[str, ...]) -> Prepared:
    return Prepared(_guarded(names))


def _guarded(names: Iterable[str]) -> Update:
    return (
        update(JOBS)
        .where(
            JOBS.c.id == bindparam("b_id"),
            JOBS.c.status == bindparam("b_status"),
            JOBS.c.attempt == bindparam("b_attempt"),
        )
        .values({name: bindparam(name) for name in names})
    )
