"""The keys that only one job may hold: an idempotency key for as long as its row is there, a unique key until the job ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Table, delete, select, text, update
from sqlalchemy.exc import IntegrityError

from workers.domain.errors import Conflict, KeyConflict
from workers.domain.states import FINAL, Status
from workers.store import upload_uses
from workers.store.dialects import insert_or_ignore
from workers.store.models import FurtherKey, Job
from workers.store.types import Row

T = TypeVar("T")
_JOBS = cast(Table, Job.__table__)
_HOLDER = tuple(_JOBS.c[name] for name in "id status task payload idempotency_key request_hash unique_key".split())
_FURTHER = cast(Table, FurtherKey.__table__)
# Few locks, in one order: a batch of 10,000 keys would fill PostgreSQL's table of locks, and two batches wait for each other.
_LOCK_KEYS = text(
    "SELECT pg_advisory_xact_lock(7281467, part) FROM (SELECT DISTINCT abs(hashtext(key) % 64) AS part "
    "FROM unnest(CAST(:keys AS text[])) AS key ORDER BY part) AS parts"
)
# Each time, the job that held the key ended between the write and the look for it.
_MOST_ATTEMPTS = 20


def add_unless_held(connection: Connection, row: Mapping[str, Any]) -> Row | None:
    """Insert a job that has an idempotency or unique key.

    Returns the job that already holds one of them, the holder of the idempotency key first, or None when the row was
    inserted. An idempotency key that is answered with a holder of the unique key stands for that job from now on; call
    `lock_keys` first. Raises Conflict when the keys change hands too fast.
    """
    answered = _job_of_further_key(connection, row["idempotency_key"])
    if answered is not None:
        return answered
    insert = insert_or_ignore(connection, _JOBS).returning(_JOBS.c.id)
    for _ in range(_MOST_ATTEMPTS):
        if connection.execute(insert, row).scalar_one_or_none() is not None:
            upload_uses.note(connection, [row])
            return None
        for key in ("idempotency_key", "unique_key"):
            found = holder(connection, key, row[key])
            if found is not None:
                _note_further_key(connection, row, found)
                return found
    raise _busy()


def lock_keys(connection: Connection, keys: Iterable[str | None]) -> None:
    """Keep others from giving these idempotency keys to jobs until this transaction has ended.

    A key is held by a row of `jobs` or of `further_keys`: no index of PostgreSQL spans both. SQLite has one writer.
    """
    given = [key for key in keys if key is not None]
    if given and connection.dialect.name == "postgresql":
        connection.execute(_LOCK_KEYS, {"keys": given})


def forget_further_keys(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the keys that stand for jobs that are deleted."""
    connection.execute(delete(_FURTHER).where(_FURTHER.c.job_id.in_(job_ids)))


def _job_of_further_key(connection: Connection, key: str | None) -> dict[str, Any] | None:
    if key is None:
        return None
    chosen = select(*_HOLDER, _FURTHER.c.request_hash.label("hash_of_key"))
    chosen = chosen.join(_FURTHER, _FURTHER.c.job_id == _JOBS.c.id).where(_FURTHER.c.idempotency_key == key)
    found = connection.execute(chosen).mappings().one_or_none()
    if found is None:
        return None
    return {**found, "idempotency_key": key, "request_hash": found["hash_of_key"]}


def _note_further_key(connection: Connection, row: Mapping[str, Any], found: Row) -> None:
    key = row["idempotency_key"]
    if key is None or found["idempotency_key"] == key:
        return
    values = {"idempotency_key": key, "job_id": found["id"], "request_hash": row["request_hash"]}
    connection.execute(insert_or_ignore(connection, _FURTHER), values)


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
    return Conflict("Other requests use the same key right now. Try again.")
