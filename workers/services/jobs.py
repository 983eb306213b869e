"""What people, programs and tasks do with jobs: enqueue, retry, run now, cancel, run again, delete.

Each is one transaction (guarded move, event, audit), then the push to Redis, then the word to the viewers. A push that
fails loses nothing: the row waits and `services.delivery` brings it to its queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from workers.broker import queues
from workers.domain import payloads
from workers.domain.actors import Actor
from workers.domain.clock import rfc3339, utcnow
from workers.domain.errors import Conflict, NotFound, Unavailable
from workers.domain.masked_edits import mask_change, restore
from workers.domain.names import SYSTEM_TASKS, is_reserved_queue, rq_id
from workers.domain.states import FINAL, WAITING, Status
from workers.services import audit, catalogue, keys, removal, secret_fields
from workers.services.enqueueing import (
    Enqueued,
    NewJob,
    enqueue,
    enqueue_many,
)
from workers.services.telling import push, tell
from workers.store import attempts, job_keys, jobs, upload_uses
from workers.store.types import Row
from workers.yard import Yard

__all__ = ["Enqueued", "NewJob", "cancel", "delete", "enqueue", "enqueue_many", "get", "retry", "run_again", "run_now"]

FRESH = dict.fromkeys(
    (
        "done total step message due_at next_retry_at worker heartbeat_at leave_until progress_at started_at completed_at failed_at canceled_at "
        "cancel_requested_at cancel_requested_by wait_ms run_ms error traceback result skipped_reason"
    ).split()
)


def get(connection: Connection, job_id: str) -> Row:
    """Fetch a job; NotFound when there is none."""
    row = jobs.get(connection, job_id)
    if row is None:
        raise NotFound(f"There is no job {job_id}. It may have been deleted by a user or by retention.")
    return row


def retry(
    yard: Yard, job_id: str, actor: Actor, payload: Mapping[str, Any] | None = None, *, attempt: int | None = None
) -> Row:
    """Put a failed or canceled job back on its queue as its next attempt, with another payload if one is given.

    With `attempt`, only while that attempt is the last one.
    Raises NotFound, BadInput for a payload that does not fit, Conflict when its state forbids it, KeyConflict when its task
    is unique and another job with the same payload has not ended.
    """
    now = utcnow()
    with yard.database.write() as connection:
        row = get(connection, job_id)
        refuse_system_queue(row)
        _require(row, {Status.FAILED, Status.CANCELED}, "Only failed and canceled jobs can be retried")
        _require_attempt(row, attempt)
        payload = _restored(connection, row, payload)
        values = _next_attempt(yard, row, payload, now)
        if payload is not None and row["idempotency_key"] is not None:
            # The key still stands for what it was first used for.
            values["request_hash"] = keys.hash_of_request(connection, row)
        after = _moved(connection, row, Status.PENDING, "retried", now, actor, values)
        if payload is not None:
            upload_uses.note(connection, [after])
            _note_edit(connection, row, after, now, actor)
        _audit(connection, actor, "job.retried", row, after, now)
    return _pushed(yard, after)


def run_now(yard: Yard, job_id: str, actor: Actor) -> Row:
    """Put a job that waits for its time on its queue at once. Raises NotFound, Conflict."""
    now = utcnow()
    with yard.database.write() as connection:
        row = get(connection, job_id)
        refuse_system_queue(row)
        _require(
            row, {Status.SCHEDULED, Status.RETRY_SCHEDULED}, "Only jobs that wait for their due time can be run now"
        )
        after = _moved(connection, row, Status.PENDING, "run_now", now, actor, released(row, now))
        _audit(connection, actor, "job.run_now", row, after, now)
    return _pushed(yard, after)


def released(row: Row, now: datetime) -> dict[str, Any]:
    """Tell the columns of a job that leaves `scheduled` or `retry_scheduled` for its queue."""
    if row["status"] == Status.RETRY_SCHEDULED:
        return {**FRESH, "progress": 0.0, "attempt": row["attempt"] + 1, "pending_at": now}
    return {"due_at": None, "pending_at": now}


def cancel(yard: Yard, job_id: str, actor: Actor) -> Row:
    """Call a job off: at once while it waits; while it runs it is told, and killed if it does not stop by itself.

    Raises NotFound, and Conflict when it has already ended.
    """
    now = utcnow()
    with yard.database.write() as connection:
        row = get(connection, job_id)
        refuse_system_job(row)
        if Status(row["status"]) in WAITING:
            after = _moved(connection, row, Status.CANCELED, "canceled", now, actor, _canceled_at(now))
        else:
            _require(row, {Status.PROCESSING}, "The job has already ended")
            after = _request_cancel(connection, row, now, actor)
        _audit(connection, actor, "job.canceled", row, after, now)
    with suppress(Unavailable):
        if after["status"] == Status.CANCELED:
            queues.remove(yard.redis, [queues.PushRef.of(row)])
        elif row["worker"]:
            queues.stop(yard.redis, row["worker"], rq_id(job_id, row["attempt"]))
    tell(yard, after)
    return after


def cancel_waiting(yard: Yard, job_id: str, attempt: int, actor: Actor) -> Row:
    """Cancel a job whose given attempt has not started yet. Raises NotFound, and Conflict when it has, or is another."""
    now = utcnow()
    with yard.database.write() as connection:
        row = get(connection, job_id)
        refuse_system_job(row)
        _require_attempt(row, attempt)
        _require(row, WAITING, "Only an attempt that has not started can be canceled here")
        if attempts.has_begun(connection, job_id, attempt):  # it ended, and the job waits for its retry
            raise Conflict(f"Attempt {attempt} has started since. Cancel the job itself.", state=row["status"])
        after = _moved(connection, row, Status.CANCELED, "canceled", now, actor, _canceled_at(now))
        _audit(connection, actor, "job.canceled", row, after, now)
    with suppress(Unavailable):
        queues.remove(yard.redis, [queues.PushRef.of(row)])
    tell(yard, after)
    return after


def run_again(yard: Yard, job_id: str, actor: Actor, payload: Mapping[str, Any] | None = None) -> Enqueued:
    """Make a new job like a completed one, linked to it. Raises NotFound, BadInput, Conflict, KeyConflict as `retry` does."""
    with yard.database.read() as connection:
        row = get(connection, job_id)
        payload = _restored(connection, row, payload)
    refuse_system_queue(row)
    _require(row, FINAL, "The job has not ended yet")
    new = NewJob(
        task=row["task"],
        payload=payload if payload is not None else payloads.load(row["payload"]),
        queue=row["queue"],
        priority=row["priority"],
        max_retries=row["max_retries"],
        timeout_seconds=row["timeout_seconds"],
        callback_url=row["callback_url"],
        rerun_of=job_id,
        created_by=str(actor),
    )
    made = enqueue(yard, new)
    if made.deduplicated:
        raise job_keys.unique_conflict(made.job_id)
    return made


def delete(yard: Yard, job_id: str, actor: Actor) -> None:
    """Delete a job with its attempts, events, logs and files, and the uploads that no other job names. Raises NotFound, and Conflict while it runs."""
    now = utcnow()
    with yard.database.write() as connection:
        row = get(connection, job_id)
        refuse_system_job(row)
        _require(row, FINAL | WAITING, "The job is running; cancel it first")
        removed = removal.remove_rows(yard, connection, [job_id])
        if not removed.job_ids:
            raise _lost_race(row)
        _audit(connection, actor, "job.deleted", row, None, now)
    with suppress(Unavailable):  # the scheduler deletes what is left
        removal.remove_files(yard, removed)
    with suppress(Unavailable):
        queues.remove(yard.redis, [queues.PushRef.of(row)])
    tell(yard, row, status="deleted")


def refuse_system_job(row: Row) -> None:
    """Raise Conflict for a job of Taskyard's own: people may look at it, nobody but Taskyard changes it."""
    if row["task"] in SYSTEM_TASKS:
        advice = "Abort the bulk action instead." if row["task"] == "system.bulk_action" else "Retention deletes it."
        raise Conflict(f"{row['task']} is a system job, which cannot be changed. {advice}", row["status"])


def refuse_system_queue(row: Row) -> None:
    """Raise Conflict for a job that would go to a queue of Taskyard's own, and for one of its own jobs."""
    refuse_system_job(row)
    if is_reserved_queue(row["queue"]):
        raise Conflict(
            f"The queue {row['queue']} is reserved for system jobs. Enqueue a new job on another queue.",
            row["status"],
        )


def _next_attempt(yard: Yard, row: Row, payload: Mapping[str, Any] | None, now: datetime) -> dict[str, Any]:
    values = {**FRESH, "progress": 0.0, "attempt": row["attempt"] + 1, "pending_at": now}
    if payload is not None:
        task = catalogue.get_task(yard, row["task"])
        text = values["payload"] = task.write(payload)
        names = secret_fields.fields_of(task.row["secret_fields"])
        values["search_text"] = secret_fields.search_text(text, payload, row["idempotency_key"], names)
    values["unique_key"] = keys.unique_key_of(yard, row, payload)
    return values


def _restored(connection: Connection, row: Row, payload: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return an edited payload with the stored secrets where their masks were left alone. Raises BadInput."""
    if payload is None:
        return None
    names = secret_fields.of_task(connection, row["task"])
    restored: Mapping[str, Any] = restore(payload, payloads.load(row["payload"]), names, names)
    return restored


def _note_edit(connection: Connection, row: Row, after: Row, now: datetime, actor: Actor) -> None:
    if row["payload"] != after["payload"]:
        edit = mask_change(
            {"payload": payloads.load(row["payload"])},
            {"payload": payloads.load(after["payload"])},
            secret_fields.of_task(connection, row["task"]),
        )
        detail = {name: shown["payload"] for name, shown in zip(("before", "after"), edit, strict=True)}
        jobs.note(connection, after, "payload_edited", now, actor=str(actor), detail=detail)


def _request_cancel(connection: Connection, row: Row, now: datetime, actor: Actor) -> Row:
    values = {"cancel_requested_at": now, "cancel_requested_by": str(actor)}
    if not jobs.touch(connection, row["id"], row["attempt"], values):
        raise _lost_race(row)
    jobs.note(connection, row, "cancel_requested", now, actor=str(actor))
    return get(connection, row["id"])


def _moved(
    connection: Connection,
    row: Row,
    after: Status,
    event: str,
    now: datetime,
    actor: Actor,
    values: Mapping[str, Any],
) -> Row:
    before = Status(row["status"])
    moved = jobs.transition(
        connection, row["id"], before, row["attempt"], after, event, now, actor=str(actor), values=values
    )
    if moved is None:
        raise _lost_race(row)
    return moved


def _canceled_at(now: datetime) -> dict[str, Any]:
    return {"canceled_at": now, "due_at": None, "next_retry_at": None}


def _require(row: Row, states: frozenset[Status] | set[Status], sentence: str) -> None:
    if Status(row["status"]) not in states:
        raise Conflict(f"{sentence}; this one is {row['status'].replace('_', ' ')}.", state=row["status"])


def _require_attempt(row: Row, attempt: int | None) -> None:
    if attempt is not None and row["attempt"] != attempt:
        raise Conflict(f"The job is at attempt {row['attempt']} now, not at attempt {attempt}.", state=row["status"])


def _lost_race(row: Row) -> Conflict:
    return Conflict("Somebody else changed this job at the same time. Reload and try again.", state=row["status"])


def _audit(connection: Connection, actor: Actor, action: str, row: Row, after: Row | None, now: datetime) -> None:
    def seen(job: Row) -> dict[str, Any]:
        due = {"due_at": rfc3339(job["due_at"])} if job["due_at"] is not None else {}
        return {"task": job["task"], "status": job["status"], "attempt": job["attempt"], **due}

    audit.record(connection, actor, action, "job", row["id"], now, seen(row), seen(after) if after else None)


def _pushed(yard: Yard, row: Row) -> Row:
    with suppress(Unavailable):
        push(yard, [row])
    return row
