"""The keys that only one job may hold: an idempotency key for as long as its row is there, a unique key until the job ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.exc import IntegrityError

from workers.domain.errors import Conflict, KeyConflict
from workers.domain.states import FINAL, Status
from workers.store import upload_uses
from workers.store.dialects import insert_or_ignore
from workers.store.models import Job
from workers.store.types import Row

T = TypeVar("T")
_JOBS = cast(Table, Job.__table__)
_HOLDER = tuple(_JOBS.c[name] for name in "id status task payload idempotency_key request_hash unique_key".split())
# Each time, the job that held the key ended between the write and the look for it.
_MOST_ATTEMPTS = 20


def add_unless_held(connection: Connection, row: Mapping[str, Any]) -> Row | None:
    """Insert a job that has an idempotency or unique key.

    Returns the job that already holds one of them, the holder of the idempotency key first, or None when the row was
    inserted. Raises Conflict when the keys change hands too fast.
    """
    insert = insert_or_ignore(connection, _JOBS).returning(_JOBS.c.id)
    for _ in range(_MOST_ATTEMPTS):
        if connection.execute(insert, row).scalar_one_or_none() is not None:
            upload_uses.note(connection, [row])
            return None
        for key in ("idempotency_key", "unique_key"):
            found = holder(connection, key, row[key])
            if found is not None:
                return found
    raise _busy()


def holder(connection: Connection, key: str, value: str | None) -> Row | None:
    """Fetch the job that holds an `idempotency_key` or `unique_key`; None when nobody does."""
    if value is None:
        return None
    return connection.execute(select(*_HOLDER).where(_JOBS.c[key] == value)).mappings().one_or_none()


def give_unique_key(connection: Connection, value: str, write: Callable[[], T]) -> T:
    """Carry out a write that gives a unique key to a job; what it returns.

    Raises KeyConflict, with nothing written, when another job holds the key.
    """
    violation = connection.dialect.loaded_dbapi.IntegrityError
    for _ in range(_MOST_ATTEMPTS):
        try:
            with connection.begin_nested():
                return write()
        except (violation, IntegrityError):  # the driver's own, from a prepared statement, or SQLAlchemy's
            found = holder(connection, "unique_key", value)
            if found is not None:
                raise unique_conflict(found["id"]) from None
    raise _busy()


def unfinished(connection: Connection, task: str, after: str, limit: int) -> Sequence[Row]:
    """List the jobs of a task that have not ended, in the order of their ids, after the given one."""
    statuses = [str(status) for status in Status if status not in FINAL]
    chosen = select(*_HOLDER).where(_JOBS.c.task == task, _JOBS.c.status.in_(statuses), _JOBS.c.id > after)
    return connection.execute(chosen.order_by(_JOBS.c.id).limit(limit)).mappings().all()


def set_unique_key(connection: Connection, row: Row, key: str | None) -> bool:
    """Change the unique key of a job that has not moved on; False when it has."""
    same = (_JOBS.c.id == row["id"], _JOBS.c.status == row["status"])
    return connection.execute(update(_JOBS).where(*same).values(unique_key=key)).rowcount == 1


def unique_conflict(job_id: str) -> KeyConflict:
    """Return the error for a job that must wait for another one of its unique task and payload."""
    return KeyConflict(
        f"Job {job_id} has the same task and payload and has not ended; this task allows only one such job at a time. "
        "Wait for that job, or cancel it.",
        job_id=job_id,
    )


def _busy() -> Conflict:
    return Conflict("Other requests use the same key at this moment. Try again.")
