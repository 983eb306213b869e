"""Many jobs of unique tasks: retried, each takes its key or is refused because another job with its payload has not ended;
and when the task has changed, each unfinished one gets the key that it should have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from workers.domain.errors import BadInput, KeyConflict
from workers.domain.states import Status
from workers.services import catalogue, keys
from workers.services.jobs import FRESH
from workers.store import job_keys, jobs
from workers.store.types import Row
from workers.yard import Yard

STEP = 500


@dataclass(slots=True)
class Retried:
    """What became of the jobs of unique tasks."""

    ids: set[str] = field(default_factory=set)  # all that were looked at
    moved: list[Row] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)  # by job id, why


def retry_unique(yard: Yard, connection: Connection, rows: Sequence[Row], now: datetime, actor: str) -> Retried:
    """Retry those of these jobs, 1,000 at most, whose task is unique; the others are left to the caller.

    The rows come from `locked` in this transaction. Of several jobs with the same payload the first one is retried.
    Raises Unavailable.
    """
    unique = {task for task in {row["task"] for row in rows} if _is_unique(yard, task)}
    chosen = [row["id"] for row in rows if row["task"] in unique]
    retried = Retried(ids=set(chosen))
    found = jobs.get_many(connection, chosen)
    for job_id in chosen:
        if job_id in found:
            _retry(yard, connection, found[job_id], now, actor, retried)
    return retried


def _retry(yard: Yard, connection: Connection, row: Row, now: datetime, actor: str, retried: Retried) -> None:
    values = {**FRESH, "progress": 0.0, "attempt": row["attempt"] + 1, "pending_at": now}
    values["unique_key"] = keys.unique_key_of(yard, row)
    before = Status(row["status"])
    try:
        moved = jobs.transition(
            connection, row["id"], before, row["attempt"], Status.PENDING, "retried", now, actor=actor, values=values
        )
    except KeyConflict as conflict:
        retried.refusals[row["id"]] = f"job {conflict.job_id} has the same task and payload and has not ended"
        return
    if moved is not None:
        retried.moved.append(moved)


def renew_keys(yard: Yard, task: str) -> int:
    """Give the unfinished jobs of a task the keys that its rule and schema ask for now; how many changed. Raises Unavailable.

    The oldest of several with the same payload has the key; the others keep what they have, and run.
    """
    changed, after = 0, ""
    while True:
        with yard.database.write() as connection:
            rows = job_keys.unfinished(connection, task, after, STEP)
            changed += sum(_renew_key(yard, connection, row) for row in rows)
        if len(rows) < STEP:
            return changed
        after = rows[-1]["id"]


def _renew_key(yard: Yard, connection: Connection, row: Row) -> bool:
    key = keys.unique_key_of(yard, row)
    if key == row["unique_key"]:
        return False
    try:
        return job_keys.give_unique_key(connection, key or "", lambda: job_keys.set_unique_key(connection, row, key))
    except KeyConflict:
        return False


def _is_unique(yard: Yard, task: str) -> bool:
    try:
        return bool(catalogue.get_task(yard, task).row["is_unique"])
    except BadInput:  # the task is gone, and its rule with it
        return False
