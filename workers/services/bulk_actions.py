"""One action on everything that a filter matches: previewed, worked by a job in small steps, abortable, told as it goes.

What the filter matches is fixed when the action is made: jobs made later are not touched. The place reached is kept after
each step, so an action whose worker died goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from workers.broker import queues
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict, NotFound, Unavailable
from workers.domain.filters import JobFilter
from workers.domain.ids import new_id
from workers.domain.names import BULK_TASK, SYSTEM_TASKS, is_reserved_queue
from workers.domain.numbers import check_number
from workers.domain.states import Status
from workers.services import audit, job_filters, removal, statistics, unique_retries
from workers.services.bulk_selections import ALLOWED, narrow
from workers.services.enqueueing import NewJob, deliver, insert, know_queues, row_of
from workers.services.jobs import FRESH, released
from workers.services.piecemeal import apply_piecemeal
from workers.services.telling import push, tell, tell_kind
from workers.store import bulk_actions, job_lists, jobs
from workers.store.types import Row
from workers.yard import Yard

ABANDONED = "Its job ended or was deleted before the action was complete."
STEP = 500
LOWEST_RATE, HIGHEST_RATE = 0.01, 100_000.0
SAMPLE = 10
COUNT_CAP = 1_000_000
_JUST_NOW = timedelta(seconds=5)


@dataclass(slots=True)
class _Outcome:
    """What a step did."""

    done: list[Row] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # a job's id, why
    removed: list[removal.Removed] = field(default_factory=list)


def preview(connection: Connection, action: str, wanted: JobFilter) -> dict[str, Any]:
    """Tell what an action would touch: how many, whether that is all, and the first ten. Raises BadInput."""
    narrowed = narrow(action, wanted, utcnow())
    count, is_capped = job_lists.count_matching(connection, narrowed, COUNT_CAP)
    return {
        "count": count,
        "is_capped": is_capped,
        "sample": job_lists.jobs_page(connection, narrowed, limit=SAMPLE).rows,
    }


def create(yard: Yard, action: str, wanted: JobFilter, rate_per_second: float | None, actor: Actor) -> Row:
    """Make a bulk action and the job that works it. Raises BadInput."""
    if rate_per_second is not None:
        check_number("rate_per_second", rate_per_second, LOWEST_RATE, HIGHEST_RATE)
    now = utcnow()
    narrowed = narrow(action, wanted, now)
    with yard.database.read() as connection:
        total = _total(connection, narrowed)
    action_id = new_id(now)
    # Its job comes with it in one transaction: neither is ever there alone.
    job = row_of(yard, NewJob(BULK_TASK, {"bulk_action_id": action_id}, created_by=str(actor)), now, is_system=True)
    with yard.database.write() as connection:
        row: dict[str, Any] = {
            "id": action_id,
            "action": action,
            "selection": json.dumps(narrowed.to_args()),
            "rate_per_second": rate_per_second,
            "status": "pending",
            "total": total,
            "created_at": now,
            "created_by": str(actor),
            "job_id": job["id"],
        }
        bulk_actions.add(connection, row)
        told = {"action": action, "filter": narrowed.to_args(), "total": total}
        audit.record(connection, actor, "bulk_action.created", "bulk_action", row["id"], now, None, told)
        know_queues(yard, connection, [job], now)
        insert(connection, job)
        made = get(connection, action_id)
    deliver(yard, [job])
    return made


def get(connection: Connection, action_id: str, *, locked: bool = False) -> Row:
    """Fetch one; NotFound when there is none. A locked one is kept from others until the transaction ends."""
    row = bulk_actions.get(connection, action_id, locked=locked)
    if row is None:
        raise NotFound(f"There is no bulk action {action_id}.")
    return row


def abort(yard: Yard, action_id: str, actor: Actor) -> Row:
    """Stop an action after its present step; what it has done stays done. Raises NotFound, Conflict."""
    now = utcnow()
    with yard.database.write() as connection:
        row = get(connection, action_id)
        values = {"status": "aborted", "abort_requested_at": now, "ended_at": now}
        if not bulk_actions.change(connection, action_id, values, before=bulk_actions.UNFINISHED):
            raise Conflict("The bulk action has already ended.", state=row["status"])
        audit.record(connection, actor, "bulk_action.aborted", "bulk_action", action_id, now)
        row = get(connection, action_id)
    tell_kind(yard, "bulk_action", action_id, "aborted")
    return row


def resume(yard: Yard, action_id: str, actor: Actor) -> Row:
    """Go on with an action that failed, from the place it had reached, by a new job. Raises NotFound, Conflict."""
    now = utcnow()
    job = row_of(yard, NewJob(BULK_TASK, {"bulk_action_id": action_id}, created_by=str(actor)), now, is_system=True)
    with yard.database.write() as connection:
        row = get(connection, action_id)
        values = {"status": "pending", "error": None, "ended_at": None, "job_id": job["id"]}
        if not bulk_actions.change(connection, action_id, values, before=("failed",)):
            raise Conflict(
                f"This bulk action is {row['status']}. Only one that failed can be resumed.", state=row["status"]
            )
        audit.record(connection, actor, "bulk_action.resumed", "bulk_action", action_id, now)
        know_queues(yard, connection, [job], now)
        insert(connection, job)
        row = get(connection, action_id)
    deliver(yard, [job])
    tell_kind(yard, "bulk_action", action_id, "pending")
    return row


def end_abandoned(yard: Yard, now: datetime) -> int:
    """Fail the actions that no job works any more; how many they are."""
    with yard.database.write() as connection:
        ended = bulk_actions.end_abandoned(connection, ABANDONED, now)
    for action_id in ended:
        tell_kind(yard, "bulk_action", action_id, "failed")
    return len(ended)


def work(yard: Yard, action_id: str, progress: Callable[[int, int], None]) -> dict[str, int]:
    """Work an action to its end; safe to call again after a crash. Tells how many were done and refused."""
    while True:
        started = time.monotonic()
        row = step(yard, action_id)
        progress(row["done"] + row["refused"], max(row["total"], row["done"] + row["refused"]))
        if row["status"] not in bulk_actions.UNFINISHED:
            return {"done": row["done"], "refused": row["refused"]}
        if row["rate_per_second"]:
            size = _size(row)
            time.sleep(max(0.0, size / row["rate_per_second"] - (time.monotonic() - started)))


def step(yard: Yard, action_id: str) -> Row:
    """Do the next step of an action; the row as it is then. Raises NotFound, Unavailable."""
    now = utcnow()
    with yard.database.write() as connection:
        # Two that work the same action take turns: each step begins where the other's ended.
        action = get(connection, action_id, locked=True)
        if action["status"] not in bulk_actions.UNFINISHED:
            return action
        wanted = job_filters.read(connection, yard.settings, json.loads(action["selection"]), now)
        wanted = replace(wanted, without_tasks=SYSTEM_TASKS)
        ids, cursor = job_lists.ids_matching(connection, wanted, action["cursor"], _size(action))
        outcome = _apply_each(yard, connection, action, ids, now)
        bulk_actions.refuse(connection, action_id, outcome.refused)
        values: dict[str, Any] = {"status": "processing", "cursor": cursor}
        values |= {"done": action["done"] + len(outcome.done), "refused": action["refused"] + len(outcome.refused)}
        if cursor is None:
            values |= {"status": "completed", "ended_at": now}
        bulk_actions.change(connection, action_id, values, before=bulk_actions.UNFINISHED)
        after = get(connection, action_id)
    _carry_out(yard, action["action"], outcome)
    tell_kind(yard, "bulk_action", action_id, after["status"])
    return after


def _apply_each(yard: Yard, connection: Connection, action: Row, ids: Sequence[str], now: datetime) -> _Outcome:
    """Apply the action to these jobs; one that cannot be changed is refused, whatever its row holds."""

    def apply(part: Sequence[str]) -> _Outcome:
        return _apply(yard, connection, action, jobs.locked(connection, part), now)

    pieces = apply_piecemeal(connection, ids, apply)
    whole = _Outcome(refused=pieces.failures)
    for outcome in pieces.results:
        whole.done += outcome.done
        whole.refused += outcome.refused
        whole.removed += outcome.removed
    return whole


def _apply(yard: Yard, connection: Connection, action: Row, rows: Sequence[Row], now: datetime) -> _Outcome:
    kind, actor = action["action"], action["created_by"]
    outcome, reasons = _Outcome(), {}
    allowed = [row for row in rows if _refusal(kind, row) is None]
    if kind == "delete":
        removed = removal.remove_rows(yard, connection, [row["id"] for row in allowed])
        outcome.removed.append(removed)
        gone = set(removed.job_ids)
        outcome.done = [row for row in allowed if row["id"] in gone]
    else:
        if kind == "retry":
            retried = unique_retries.retry_unique(yard, connection, allowed, now, actor)
            outcome.done, reasons = retried.moved, retried.refusals
            allowed = [row for row in allowed if row["id"] not in retried.ids]
        outcome.done += [row for status in Status for row in _move(connection, kind, status, allowed, now, actor)]
    moved = {row["id"] for row in outcome.done}
    for row in rows:
        if row["id"] not in moved:
            why = reasons.get(row["id"]) or _refusal(kind, row) or f"the job is {row['status']}"
            outcome.refused.append((row["id"], why))
    return outcome


def _refusal(kind: str, row: Row) -> str | None:
    """Return why an action leaves a job as it is, or None."""
    if Status(row["status"]) not in ALLOWED[kind]:
        return f"the job is {row['status']}"
    if kind in {"retry", "run_now"} and is_reserved_queue(row["queue"]):
        return f"its queue {row['queue']} is reserved for system jobs"
    return "the job is a system job" if row["task"] in SYSTEM_TASKS else None


def _move(
    connection: Connection, kind: str, status: Status, rows: Sequence[Row], now: datetime, actor: str
) -> Sequence[Row]:
    group = [row for row in rows if row["status"] == status]
    if kind == "cancel" and status is Status.PROCESSING:
        return [row for row in group if _is_asked_to_stop(connection, row, now, actor)]
    after, event = Status.PENDING, "run_now"
    # The next attempt is counted by the database: the expression stands for each row's own.
    values: dict[str, Any] = released({"status": status, "attempt": jobs.JOBS.c.attempt}, now)
    if kind == "cancel":
        after, event = Status.CANCELED, "canceled"
        values = {"canceled_at": now, "due_at": None, "next_retry_at": None}
    elif kind == "retry":
        event = "retried"
        values = {**FRESH, "progress": 0.0, "attempt": jobs.JOBS.c.attempt + 1, "pending_at": now}
    return jobs.transition_many(connection, group, after, event, now, values, actor=actor)


def _is_asked_to_stop(connection: Connection, row: Row, now: datetime, actor: str) -> bool:
    values = {"cancel_requested_at": now, "cancel_requested_by": actor}
    if not jobs.touch(connection, row["id"], row["attempt"], values):
        return False
    jobs.note(connection, row, "cancel_requested", now, actor=actor)
    return True


def _carry_out(yard: Yard, action: str, outcome: _Outcome) -> None:
    done = outcome.done
    for removed in outcome.removed:
        removal.remove_files(yard, removed)
    with suppress(Unavailable):
        if action in {"retry", "run_now"}:
            push(yard, done)
        else:
            queues.remove(yard.redis, [queues.PushRef.of(row) for row in done])
            for row in done:
                if row["status"] == Status.PROCESSING and row["worker"]:
                    queues.stop(yard.redis, row["worker"], queues.PushRef.of(row).rq_id)
    if done and action not in {"retry", "run_now"}:
        tell(yard, {**done[-1], "id": "*"})


def _total(connection: Connection, narrowed: JobFilter) -> int:
    """Return how many jobs an action will meet, up to a million: by the counters where they know, else counted."""
    plain = JobFilter(
        status=narrowed.status,
        queue=narrowed.queue,
        until=narrowed.until,
        hides_system=narrowed.hides_system,
        without_tasks=SYSTEM_TASKS,
    )
    has_family = any(queue.endswith("*") for queue in narrowed.queue)
    if has_family or narrowed != plain or narrowed.until is None or utcnow() - narrowed.until > _JUST_NOW:
        return job_lists.count_matching(connection, narrowed, COUNT_CAP)[0]
    by_queue = statistics.count_by_queue(connection, narrowed.status)
    chosen = narrowed.queue or [name for name in by_queue if not is_reserved_queue(name)]
    return min(sum(by_queue.get(name, 0) for name in chosen), COUNT_CAP)


def _size(action: Row) -> int:
    rate = action["rate_per_second"]
    return STEP if not rate else max(1, min(STEP, int(rate)))
