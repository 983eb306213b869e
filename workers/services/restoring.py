"""Bring back what was canceled or deleted: jobs that had not started, and schedules."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from workers.domain.actors import Actor
from workers.domain.clock import parse_instant, utcnow
from workers.domain.errors import Conflict, Unavailable
from workers.domain.states import Status
from workers.services import audit, deleted_schedules, jobs, keys, schedules, secret_fields
from workers.services.telling import push, tell
from workers.store import jobs as rows
from workers.store import kept_fires
from workers.store import schedules as schedule_rows
from workers.store.types import Row
from workers.yard import Yard


def restore_job(yard: Yard, job_id: str, before: Mapping[str, Any], actor: Actor) -> Row:
    """Put a canceled job back to where it waited, at the same attempt.

    `before` is what the audit says of it: `status` and, of one that waited for a time, `due_at`. Raises NotFound,
    Conflict when it is not canceled any more, KeyConflict when another job has taken its unique key.
    """
    now = utcnow()
    status = Status(before["status"])
    due_at = _instant(before.get("due_at"))
    values: dict[str, Any] = {"canceled_at": None, "due_at": due_at}
    if status == Status.RETRY_SCHEDULED:
        values["next_retry_at"] = due_at
    if status != Status.PENDING and due_at is None:
        raise Conflict("The audit does not contain the due time of the job. Retry the job instead.")
    with yard.database.write() as connection:
        row = jobs.get(connection, job_id)
        jobs.refuse_system_job(row)
        values["unique_key"] = keys.unique_key_of(yard, row)
        moved = None
        if row["status"] == Status.CANCELED:
            moved = rows.transition(
                connection,
                job_id,
                Status.CANCELED,
                row["attempt"],
                status,
                "restored",
                now,
                actor=str(actor),
                values=values,
            )
        if moved is None:
            raise Conflict("The job has changed since it was canceled.", state=row["status"])
        seen = ({"status": row["status"]}, {"status": moved["status"]})
        audit.record(connection, actor, "job.restored", "job", job_id, now, *seen)
    if status == Status.PENDING:
        with suppress(Unavailable):  # the sweep pushes it
            push(yard, [moved])
    else:
        tell(yard, moved)
    return moved


def restore_schedule(yard: Yard, schedule_id: str, actor: Actor) -> Row:
    """Bring back a schedule that was deleted within a day, with its newest runs.

    Moments that passed meanwhile are not run. Raises Conflict when it is not kept any more, or its name is taken.
    """
    now = utcnow()
    with yard.database.write() as connection:
        kept = deleted_schedules.take(connection, schedule_id)
        if kept is None:
            raise Conflict("The schedule was deleted more than a day ago, or it has been restored already.")
        row, runs = kept
        row |= {"version": row["version"] + 1, "updated_at": now, **schedules.next_run(row, now)}
        if not schedule_rows.add(connection, row):
            raise Conflict(
                f"A schedule named {row['name']!r} exists now. Rename it, then undo the deletion.", state="taken"
            )
        kept_fires.add_fires(connection, runs)
        shown = schedules.as_json(row, secret_fields.of_task(connection, row["task"]))
        audit.record(connection, actor, "schedule.restored", "schedule", schedule_id, now, None, shown)
    schedules.carry_and_tell(yard, row)
    return row


def _instant(text: str | None) -> datetime | None:
    return parse_instant(text) if text is not None else None
