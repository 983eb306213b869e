"""Idempotency keys and unique tasks: which requests are the same, and what happens to those that are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, select

from workers.domain import payloads
from workers.domain.canonical import canonical_payload, fingerprint
from workers.domain.computing import compute
from workers.domain.errors import BadInput, KeyConflict
from workers.services import catalogue
from workers.services.catalogue import CataloguedTask
from workers.store import job_keys
from workers.store.models import Task
from workers.store.types import Row
from workers.yard import Yard

_TASKS = cast(Table, Task.__table__)
_MOST_ERRORS = 1000


def keys_of(task: CataloguedTask, payload: Mapping[str, Any], idempotency_key: str | None) -> dict[str, str | None]:
    """Return the key columns of a new job: what the idempotency key stands for, and the key of a unique task."""
    row = task.row
    if idempotency_key is None and not row["is_unique"]:
        return {"idempotency_key": None, "request_hash": None, "unique_key": None}
    mark = fingerprint(row["name"], canonical_payload(payload, row["payload_schema"]))
    return {
        "idempotency_key": idempotency_key,
        "request_hash": mark if idempotency_key is not None else None,
        "unique_key": _unique_key(row["name"], mark) if row["is_unique"] else None,
    }


def unique_key_of(yard: Yard, job: Row, payload: Mapping[str, Any] | None = None) -> str | None:
    """Return the unique key that a job with this payload (its own unless given) holds when it is retried.

    None when its task is not unique, or is gone. Raises Unavailable.
    """
    try:
        task = catalogue.get_task(yard, job["task"]).row
    except BadInput:
        return None
    if not task["is_unique"]:
        return None
    wanted = payload if payload is not None else payloads.load(job["payload"])
    return _unique_key(task["name"], _mark(task["name"], wanted, task["payload_schema"]))


def hash_of_request(connection: Connection, job: Row) -> str:
    """Return the hash of what a job's idempotency key stands for."""
    if job["request_hash"] is not None:
        return str(job["request_hash"])
    # A row of an earlier version: its payload, as it is now.
    schema = connection.execute(
        select(_TASKS.c.payload_schema).where(_TASKS.c.name == job["task"])
    ).scalar_one_or_none()
    return _mark(job["task"], payloads.load(job["payload"]), schema or "{}")


def insert(connection: Connection, row: Mapping[str, Any]) -> str | None:
    """Insert a row that has a key; the id of the job that stands for the same request, else None.

    Raises KeyConflict when the idempotency key was used for another task or payload.
    """
    job_keys.lock_keys(connection, [row["idempotency_key"]])
    holder = job_keys.add_unless_held(connection, row)
    if holder is None:
        return None
    if not _is_same_request(connection, row, holder):
        raise KeyConflict(_sentence(row, holder, f"job {holder['id']}"), job_id=holder["id"])
    return str(holder["id"])


def insert_many(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Insert those of these rows that have a key; by their id, the ids of jobs that stand for the same request.

    Raises KeyConflict, which lists every row whose idempotency key was used for another task or payload.
    """
    places = {row["id"]: index for index, row in enumerate(rows)}
    keyed = [row for row in rows if row["idempotency_key"] is not None or row["unique_key"] is not None]
    # In one order everywhere, so that two batches do not wait for each other; of equals those that have a key come first.
    keyed.sort(key=lambda row: (row["unique_key"] or "", row["idempotency_key"] is None, row["idempotency_key"] or ""))
    job_keys.lock_keys(connection, [row["idempotency_key"] for row in keyed])
    known: dict[str, str] = {}
    errors: list[dict[str, Any]] = []
    for row in keyed:
        holder = job_keys.add_unless_held(connection, row)
        if holder is None:
            continue
        known[row["id"]] = holder["id"]
        if not _is_same_request(connection, row, holder):
            errors.append(_error(row, holder, places))
    if errors:
        noun = "job has" if len(errors) == 1 else "jobs have"
        message = (
            f"{len(errors):,} {noun} an idempotency key that was used for another task or payload; none was enqueued."
        )
        shown = sorted(errors, key=lambda error: error["index"])[:_MOST_ERRORS]
        raise KeyConflict(message, job_id=shown[0].get("job_id"), errors=shown)
    return known


def _error(row: Mapping[str, Any], holder: Row, places: Mapping[str, int]) -> dict[str, Any]:
    index, other = places[row["id"]], places.get(holder["id"])
    error = {"index": index, "field": "idempotency_key"}
    if other is None:
        return {**error, "job_id": holder["id"], "message": _sentence(row, holder, f"job {holder['id']}")}
    # That one is not made either.
    first, second = sorted((index, other))
    return {**error, "index": second, "message": _sentence(row, holder, f"the job with index {first} of this request")}


def _is_same_request(connection: Connection, row: Mapping[str, Any], holder: Row) -> bool:
    is_held_by_idempotency_key = (
        row["idempotency_key"] is not None and holder["idempotency_key"] == row["idempotency_key"]
    )
    if not is_held_by_idempotency_key or row["request_hash"] is None:
        return True
    return bool(holder["task"] == row["task"] and hash_of_request(connection, holder) == row["request_hash"])


def _sentence(row: Mapping[str, Any], holder: Row, name: str) -> str:
    what = "another payload" if holder["task"] == row["task"] else f"the task {holder['task']}"
    return f"This idempotency key was used for {what}, by {name}. Use a new key for a new request."


def _mark(task: str, payload: Any, schema: str) -> str:
    return fingerprint(task, compute(canonical_payload, payload, schema))


def _unique_key(task: str, mark: str) -> str:
    return f"{task[:180]}:{mark}"
